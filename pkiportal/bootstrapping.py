"""What a new installation gets: groups, policy v2.3, profiles, a team, root and issuing CA, schedules, a demo login."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils.text import slugify

from audit.changes import attribute
from audit.events import EventType
from audit.log import Actor, record
from audit.transparency.signing_key import ensure_sealing_key
from certs.access.roles import ensure_roles
from certs.ca.lifetime import has_ended
from certs.ca.local.ocsp_responder import ensure_responder, newest_responder
from certs.ca.local.setup import ensure_own_ca
from certs.errors import InputRefused
from certs.models import Domain, Issuer, Team
from certs.schedules.setup import ensure_schedules
from certs.status.crl import points_of, publish_crl
from certs.status.publishing import own_issuing_cas, own_roots, refresh_point
from certs.x509.domains import normalise_domain
from db.clock import database_now
from keys.registry import get_key_backend
from keys.spec import KeySpec
from policy.drafting import draft_version
from policy.models import Policy, PolicyVersion, Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version

ACTOR = Actor("command", "bootstrap")
PROFILES = (("tls-server", ("serverAuth",), "TLS servers"), ("tls-client", ("clientAuth",), "TLS clients; policy v2.3 does not allow it"))


class Bootstrap:
    """Each step looks first and makes only what is missing."""

    def __init__(self, *, ca_key: str, report: Callable[[str], None], organization: str = "") -> None:
        self.ca_key = KeySpec(ca_key)
        self.report = report
        self.organization = organization
        self.made: list[str] = []

    def check_settings(self) -> None:
        """Raise ImproperlyConfigured for a setting with which the CA could not be made. Call it before anything lasting."""
        for name in ("PKI_CA_KEY_BACKEND", "PKI_ROOT_KEY_BACKEND", "PKI_OCSP_KEY_BACKEND", "PKI_LEAF_KEY_BACKEND"):
            if getattr(settings, name) not in settings.KEY_BACKENDS:
                known = ", ".join(settings.KEY_BACKENDS) or "none, because VAULT_ADDR is not set"
                raise ImproperlyConfigured(f"{name} must name a key backend that this process has. It has: {known}.")
        if not slugify(settings.PKI_DEFAULT_CA):
            raise ImproperlyConfigured("PKI_DEFAULT_CA must have a letter or digit of ASCII: the addresses of its CRLs are made from it.")
        try:
            for domain in settings.PKI_DEFAULT_DOMAINS:
                normalise_domain(domain, private_suffixes=settings.PKI_PRIVATE_SUFFIXES)
        except InputRefused:
            raise ImproperlyConfigured(
                "PKI_DEFAULT_DOMAINS must list domains beneath a public suffix, such as example.com. "
                "A suffix that your organisation runs itself is added to PKI_PRIVATE_SUFFIXES."
            ) from None

    def run(self, *, demo: bool) -> dict[str, Any]:
        self.groups()
        self.sealing_key()
        self.key_backends()
        self.policy()
        self.team()
        issuer = self.authority()
        self.status_information()
        self.schedules()
        login = self.demo_login() if demo else None
        if self.made:
            with transaction.atomic():
                record(EventType.BOOTSTRAP_DONE, subject="portal", actor=ACTOR, at=database_now(), data={"made": self.made})
        return {"made": self.made, "issuer": issuer.name, **({"demo_login": login} if login else {})}

    def _made(self, what: str) -> None:
        self.made.append(what)
        self.report(f"made {what}")

    @transaction.atomic
    def _ensure(self, model: type[Model], *, name: str, **fields: Any) -> bool:
        """Make the row of that name if there is none, in the name of this command."""
        if QuerySet(model).filter(name=name).exists():
            return False
        row = model(name=name, **fields)
        attribute(row, ACTOR)
        row.save()
        return True

    def groups(self) -> None:
        """Make the groups that were deleted; `migrate` makes them at first."""
        for name in ensure_roles():
            self._made(f"group {name}")

    def sealing_key(self) -> None:
        if ensure_sealing_key():
            self._made("audit sealing key")

    def key_backends(self) -> None:
        for alias in settings.KEY_BACKENDS:
            if made := get_key_backend(alias).set_up():
                self._made(made)

    def policy(self) -> None:
        for name, ekus, description in PROFILES:
            if self._ensure(Profile, name=name, ekus=list(ekus), description=description):
                self._made(f"profile {name}")
        name = settings.PKI_DEFAULT_POLICY
        if Policy.objects.filter(name=name, versions__state=PolicyVersion.State.PUBLISHED).exists():
            return
        now = database_now()
        version = publish_version(draft_version(name, DEFAULT_V2_3, actor=ACTOR, now=now), actor=ACTOR, now=now)
        self._made(f"policy {version.version}")

    def team(self) -> None:
        if Team.objects.exists():
            return
        domains = settings.PKI_DEFAULT_DOMAINS
        with transaction.atomic():
            team = Team(slug="platform", name="Platform", default_domain=domains[0])
            for row in (team, *(Domain(name=name, team=team) for name in domains)):
                attribute(row, ACTOR)
                row.save()
        self._made(f"team platform, which owns {' and '.join(domains)}")

    def authority(self) -> Issuer:
        issuer, made = ensure_own_ca(
            name=settings.PKI_DEFAULT_CA,
            spec=self.ca_key,
            actor=ACTOR,
            tell=self.report,
            organization=self.organization or settings.PKI_CA_ORGANIZATION,
        )
        for what in made:
            self._made(what)
        return issuer

    def status_information(self) -> None:
        """Publish the root's CRL, which only this command can make, and the first CRL and OCSP responder of each issuing CA."""
        for root in (one for one in own_roots() if not has_ended(one, now=database_now())):
            for point in points_of(root):
                if point.published is None:
                    publish_crl(point, actor=ACTOR, validity=timedelta(days=settings.PKI_ROOT_CRL_VALID_DAYS))
                    self._made(f"CRL of {root.name}")
        now = database_now()
        for issuer in (one for one in own_issuing_cas() if not has_ended(one, now=now)):
            if newest_responder(issuer) is None:
                ensure_responder(issuer, actor=ACTOR)
                self._made(f"OCSP responder of {issuer.name}")
            for point in points_of(issuer):
                if point.published is None and refresh_point(point, actor=ACTOR) is not None:
                    self._made(f"CRL of {point}")

    def schedules(self) -> None:
        """Write the schedules of the settings. One that an operator deleted stays deleted."""
        for name in ensure_schedules(actor=ACTOR, now=database_now()):
            self._made(f"schedule «{name}»")

    def demo_login(self) -> dict[str, str] | None:
        """Make a superuser `demo` in the first team. Returns the login; None where it was made before.

        Its password exists only in this output.
        """
        users = get_user_model()
        if users.objects.filter(username="demo").exists():
            self.report(
                "login: demo   (its password was printed the first time; a new one: .venv/bin/python manage.py changepassword demo)"
            )
            return None
        password = secrets.token_urlsafe(12)
        user = users(username="demo", email="demo@example.com", is_staff=True, is_superuser=True)
        user.set_password(password)
        attribute(user, ACTOR)
        with transaction.atomic():
            user.save()
        user.groups.add(*Group.objects.filter(name__in=("approver", "security officer", "operator")))
        team = Team.objects.order_by("pk").first()
        if team is not None:
            attribute(team, ACTOR)
            team.members.add(user)
        self._made("login demo")
        self.report(f"login: demo   password: {password}   (printed this once)")
        return {"username": "demo", "password": password}
