"""A believable estate for the embedded portal: a year of requests, renewals, revocations and reports by the real workflow.

Nothing is written past the use cases: the clocks are moved (`pkiportal.demo.clock`) and the portal
does week by week what it always does. So `verify_audit` and `verify_states` find nothing. All names
are beneath example.com and example.test (RFC 2606), and accounts are called after their roles.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import transaction

from audit.changes import attribute
from audit.log import Actor
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.enums import RevocationReason
from certs.errors import PortalError
from certs.management.portal_command import begin_working
from certs.models import Certificate, CertificateRequest, Domain, Revocation, ScheduledJob, Team
from certs.renewal.expiry import check_expiry
from certs.reports.keeping import keep_report
from certs.reports.weeks import Week
from certs.requests.plan import plan_csr, plan_words
from certs.requests.submit import Requester, submit_many
from certs.revocation.request import request_revocation
from certs.status.maintenance import keep_status_information
from certs.status.publishing import own_roots
from certs.tasks import send_notifications
from db.clock import database_now
from pkiportal.demo.clock import DemoClock
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version

ACTOR = Actor("command", "demo_data")
WEEKS = 52
_STRICTER_AFTER = 38  # weeks: from then on the policy is v2.3
_ROOT_CRL_AFTER = 40  # weeks: the root's key was brought online once more
_REPORTS = 27
_WAIT = 60.0
_WORK = (S.SUBMITTED, S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.ISSUED)
# Before v2.3: RSA 2048 was allowed.
_OLD_KEYS = {"rsa": {"min_bits": 2048, "max_bits": 8192}, "ec": [256, 384, 521], "ed25519": True}
_RULES_V2_2: dict[str, Any] = {
    **DEFAULT_V2_3,
    "version": "v2.2",
    "rules": {**DEFAULT_V2_3["rules"], "allowed_keys": _OLD_KEYS},
}
_TEAMS = {
    "web-shop": ("Web shop", "shop.example.com"),
    "payments": ("Payments", "pay.example.com"),
    "mobile": ("Mobile", "mobile.example.com"),
    "data": ("Data platform", "data.example.com"),
}
_HOSTS = ("www", "api", "login", "static", "search", "queue", "cache", "db", "mail", "git", "files", "img", "admin", "edge", "auth")
_KEYS = ("P-256", "P-256", "P-256", "RSA 3072", "RSA 4096", "P-384", "Ed25519")
_LIVES = (30, 60, 90, 90, 90, 180, 365)


@dataclass
class DemoEstate:
    """Makes the estate; `report` gets lines of progress."""

    certificates: int
    report: Callable[[str], None]
    chance: random.Random = field(default_factory=lambda: random.Random(2305))  # noqa: S311 - the same estate each time
    teams: list[Team] = field(default_factory=list)
    people: dict[str, list[Any]] = field(default_factory=dict)

    def make(self) -> dict[str, Any]:
        """Make the year that ends now. Returns what was made."""
        clock, now = DemoClock(), database_now()
        try:
            begin_working()
            clock.set(now - timedelta(weeks=WEEKS))
            self._begin()
            per_week = self._per_week()
            for number in range(WEEKS):
                self._week(clock, now - timedelta(weeks=WEEKS - number), number, next(per_week))
        finally:
            clock.stop()
        self._end()
        return {"certificates": Certificate.objects.count(), "teams": len(self.teams), "reports": _REPORTS}

    def _begin(self) -> None:
        now = database_now()
        call_command("migrate", interactive=False, verbosity=0)
        publish_version(draft_version(settings.PKI_DEFAULT_POLICY, _RULES_V2_2, actor=ACTOR, now=now), actor=ACTOR, now=now)
        call_command("bootstrap", interactive=False, demo=True)
        for slug, (name, domain) in _TEAMS.items():
            self.teams.append(self._team(slug, name, domain))

    @transaction.atomic
    def _team(self, slug: str, name: str, domain: str) -> Team:
        team = Team(slug=slug, name=name, default_domain=domain, email=f"{slug}@example.com")
        attribute(team, ACTOR)
        team.save()
        row = Domain(name=domain, team=team)
        attribute(row, ACTOR)
        row.save()
        self.people[slug] = [self._account(f"{slug}-engineer", team), self._account(f"{slug}-colleague", team)]
        return team

    def _account(self, name: str, team: Team) -> Any:
        user = get_user_model()(username=name, email=f"{name}@example.com")
        user.set_unusable_password()
        attribute(user, ACTOR)
        user.save()
        attribute(team, ACTOR)
        team.members.add(user)
        return user

    def _per_week(self) -> Iterator[int]:
        """Yield how many begin in each week: more towards the end, as estates grow."""
        weights = [1 + number / WEEKS for number in range(WEEKS)]
        done = 0
        for number in range(WEEKS):
            wanted = round(self.certificates * sum(weights[: number + 1]) / sum(weights))
            yield wanted - done
            done = wanted

    def _week(self, clock: DemoClock, monday: datetime, number: int, count: int) -> None:
        clock.set(monday)
        keep_status_information()
        check_expiry()
        self._settle()
        if number == _STRICTER_AFTER:
            now = database_now()
            publish_version(draft_version(settings.PKI_DEFAULT_POLICY, DEFAULT_V2_3, actor=ACTOR, now=now), actor=ACTOR, now=now)
        if number == _ROOT_CRL_AFTER:
            for root in own_roots():
                call_command("publish_crl", issuer=root.slug, json=True, stdout=_Nowhere())
        if number >= WEEKS - _REPORTS:
            keep_report(Week.of(database_now()).plus(-1))
        clock.set(monday + timedelta(days=2, hours=self.chance.randint(0, 8)))
        self._issue(count, number)
        self._settle()
        self._revoke(number)
        self._settle()
        send_notifications()
        call_command("seal_audit", json=True, stdout=_Nowhere())
        self.report(f"week {number + 1} of {WEEKS}: {Certificate.objects.count()} certificates")

    def _issue(self, count: int, number: int) -> None:
        for team in self.teams:
            share = sum(self.chance.randrange(len(self.teams)) == self.teams.index(team) for _ in range(count))
            if share:
                self._submit(team, share, number)

    def _submit(self, team: Team, count: int, number: int) -> None:
        user = self.chance.choice(self.people[team.slug])
        requester = Requester(Actor("user", user.get_username()), team, "portal", user)
        for _ in range(count):
            host = f"{self.chance.choice(_HOSTS)}-{self.chance.randrange(1, 400)}.{team.default_domain}"
            days = self.chance.choice(_LIVES)
            try:
                if self.chance.random() < 0.2:
                    specs = plan_csr(_csr(host), requester=requester, validity_days=days).specs
                else:
                    key = "RSA 2048" if number < _STRICTER_AFTER and self.chance.random() < 0.15 else self.chance.choice(_KEYS)
                    plan = plan_words(f"Issue TLS certificate for {host} with {key}, {days}-day validity", requester=requester)
                    specs = plan.specs  # type: ignore[union-attr]
                submit_many(specs, requester=requester)
            except PortalError as exc:
                self.report(f"left out {host}: {exc.message}")

    def _revoke(self, number: int) -> None:
        if number % 3:
            return
        good = Certificate.objects.filter(status=Certificate.Status.GOOD, not_after__gt=database_now()).order_by("pk")
        chosen = good[self.chance.randrange(max(1, good.count()))] if good.exists() else None
        if chosen is not None:
            reason = self.chance.choice((RevocationReason.SUPERSEDED, RevocationReason.CESSATION_OF_OPERATION))
            request_revocation(chosen, reason=reason, authority=Authority(ACTOR))

    def _settle(self) -> None:
        """Wait until the worker has nothing left that it could do."""
        end = time.monotonic() + _WAIT
        while self._is_busy():
            if time.monotonic() > end:
                raise TimeoutError("The worker does not finish; the log above has the reason.")
            time.sleep(0.02)

    def _is_busy(self) -> bool:
        """A revocation that a CA has not confirmed counts: no builder of CRLs may be at work when the clock jumps."""
        requests = CertificateRequest.objects.filter(state__in=_WORK, held_since__isnull=True)
        return requests.exists() or Revocation.objects.filter(confirmed_at__isnull=True).exists()

    def _end(self) -> None:
        """Make the end of the year: one person has left, two requests wait, one renewal is switched off."""
        keep_status_information()
        leaver = self.people["mobile"][0]
        attribute(leaver, ACTOR)
        leaver.is_active = False
        leaver.save()
        team = self.teams[0]
        user = self.people[team.slug][0]
        requester = Requester(Actor("user", user.get_username()), team, "portal", user)
        for name in ("*.shop.example.com", "*.eu.shop.example.com"):
            submit_many(plan_words(f"Issue TLS certificate for {name} with P-256", requester=requester).specs, requester=requester)  # type: ignore[union-attr]
        self._settle()
        for group in ("approver", "auditor"):
            account = get_user_model()(username=f"demo-{group}", email=f"demo-{group}@example.com")
            account.set_unusable_password()
            attribute(account, ACTOR)
            account.save()
            account.groups.add(Group.objects.get(name=group))
        check_expiry()
        self._settle()
        # The weeks were worked off one by one, not by the schedules: nothing of them was missed.
        ScheduledJob.objects.update(done_until=database_now(), due_at=None)
        call_command("seal_audit", json=True, stdout=_Nowhere())
        call_command("verify_audit", record=True, json=True, stdout=_Nowhere())
        this_week = Week.of(database_now())
        for week in (this_week.plus(-1), this_week):
            keep_report(week)
        call_command("seal_audit", json=True, stdout=_Nowhere())


class _Nowhere:
    """Takes what a command prints."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""


def _csr(host: str) -> bytes:
    """Return a CSR as a server makes it; its private key is thrown away."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
