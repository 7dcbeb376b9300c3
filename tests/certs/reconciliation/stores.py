"""A portal with one of everything, and its comparison with the log."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from audit.changes import digest_of
from audit.events import EventType
from audit.log import record
from certs.access.api_tokens import create_token, revoke_token
from certs.access.changes_of_power import wholly_recorded
from certs.bulk.control import pause
from certs.bulk.submit import submit_order
from certs.enums import RevocationReason as R
from certs.models import Certificate, Issuer, Team
from certs.reconciliation.records.comparison import Comparison
from certs.reconciliation.records.links import compare_links
from certs.reconciliation.records.missing import compare_events
from certs.reconciliation.records.power import compare_power
from certs.reconciliation.records.states import compare_states
from certs.requests.approvals.approval import approve, cancel, reject
from certs.requests.description import Changes, describe
from certs.requests.submit import Requester, submit_many
from certs.revocation.deliver import process_revocations
from certs.revocation.request import request_release
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.bulk.orders import drafted
from tests.certs.life import CHAIN, PORTAL, SYSTEM, brought, issued, renewed, walk

MakeSpec = Callable[..., CertificateSpec]


COMPARISONS = (compare_states, compare_power, compare_events, compare_links)


def compared() -> Comparison:
    comparison = Comparison()
    for compare in COMPARISONS:
        compare(comparison)
    return comparison


class Named(Exception):
    """A row of the kind that was looked for is named."""


class _UntilNamed(Comparison):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.sought = kind

    def add(self, kind: str, name: str, problem: str) -> None:
        super().add(kind, name, problem)
        if kind == self.sought:
            raise Named


def compared_until_named(kind: str) -> None:
    """Raise `Named` where `compared` names a row of this kind, and return when it names none.

    To go on to the end after each of a hundred forgeries would take most of a minute.
    """
    gives_power = kind in {what.kind for what in wholly_recorded().values()}
    comparison = _UntilNamed(kind)
    for compare in (compare_power, *COMPARISONS) if gives_power else COMPARISONS:
        compare(comparison)


def _described_and_renewed(certificate: Certificate) -> None:
    """Describe a certificate, renew it, describe the renewal, and revoke that: then the first one may be described again."""
    today = database_now().date()
    first: Changes = {"owner": "alice", "purpose": "shop", "critical_function": True, "last_review": today, "renewal_off_reason": "moves"}
    describe(certificate, first, authority=PORTAL, channel="command")
    following = renewed(certificate)
    describe(following, {"purpose": "old shop"}, authority=PORTAL, channel="command")
    revoke(following, reason=R.PRIVILEGE_WITHDRAWN, authority=PORTAL, begin=False)
    process_revocations()
    describe(certificate, {"owner": "", "purpose": "new shop", "renewal_off_reason": ""}, authority=PORTAL, channel="command")


def fill(requester: Requester, make_spec: MakeSpec) -> None:
    """One of everything, made by the portal: issued, renewed, approved, revoked, held, ordered in bulk."""
    with transaction.atomic():
        data = {"state_sha256": digest_of(Issuer.objects.get())}
        record(EventType.ISSUER_CREATED, subject="issuer:twin-ca", actor=SYSTEM, at=database_now(), data=data)
    Team.objects.create(slug="other", name="Other")
    alice = person("alice", email="alice@example.com", team=requester.team)
    person("bob", email="bob@example.com")
    carol = person("carol", "security-team", email="carol@example.com")
    for name in ("ci", "ended"):
        token, _ = create_token(user=alice, team=requester.team, name=name, scopes=["certificates:read"], actor=SYSTEM)
    revoke_token(token, authority=PORTAL)
    issued(make_spec("good.example.com"), requester)
    _described_and_renewed(issued(make_spec("renewed.example.com"), requester))
    issued(brought("external.example.com"), requester)
    for name, reason in (
        ("revoked.example.com", R.SUPERSEDED),
        ("stolen.example.com", R.KEY_COMPROMISE),
        ("held.example.com", R.CERTIFICATE_HOLD),
        ("released.example.com", R.CERTIFICATE_HOLD),
    ):
        certificate = issued(make_spec(name), requester)
        revoke(certificate, reason=reason, authority=PORTAL, begin=False)
        process_revocations()
    request_release(certificate, authority=PORTAL, begin=False)
    process_revocations()
    pending = issued(make_spec("pending.example.com"), requester)
    revoke(pending, reason=R.SUPERSEDED, authority=PORTAL, begin=False)
    for decide, name in ((approve, "*.ok.example.com"), (reject, "*.no.example.com")):
        (request,) = submit_many([make_spec(name)], requester=requester)
        walk([request.pk])
        request.refresh_from_db()
        decide(request, user=carol, digest=request.digest, comment="seen")
    walk([request.pk for request in submit_many([make_spec(key="rsa-2048")], requester=requester)])
    submit_many([make_spec("waiting.example.com")], requester=requester)
    for stop in range(len(CHAIN)):  # one that is in each state
        (request,) = submit_many([make_spec(f"step-{stop}.example.com")], requester=requester)
        for before in CHAIN[:stop]:
            before([request.pk])
    (request,) = submit_many([make_spec("cancelled.example.com")], requester=requester)
    cancel(request, authority=PORTAL)
    order = submit_order(drafted([make_spec("bulk.example.com")], requester), authority=PORTAL)
    pause(order, authority=PORTAL)
    interval = IntervalSchedule.objects.create(every=5, period="seconds")
    PeriodicTask.objects.create(name="seal", task="audit.tasks.seal", interval=interval)
    person("dora", email="dora@example.com", password="x")
