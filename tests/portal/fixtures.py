"""The portal and its people, on the own CA with local keys; and a real Celery worker beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.contrib.auth import get_user_model

from audit.log import Actor
from certs.access.api_tokens import SCOPES, create_token
from certs.ca.local.setup import ensure_own_ca
from certs.ca.registry import forget_clients
from certs.models import ApiToken, Certificate, Domain, Team
from certs.requests.submit import Requester
from db.clock import database_now
from keys.registry import forget_backends
from keys.spec import KeySpec
from pkiportal.celery import app
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import person
from tests.certs.x509.certificate.checkers import assert_certificate_is_sound
from tests.harness.plugin.remembered import remembered

PASSWORD = "correct horse battery"
SYSTEM = Actor("system", "test")


@dataclass
class Portal:
    team: Team
    alice: Any
    bob: Any
    carol: Any

    def requester(self, **more: Any) -> Requester:
        return Requester(actor=Actor("user", "alice"), team=self.team, channel="portal", user=self.alice, **more)

    def token(self, *scopes: str, user: Any = None, team: Team | None = None) -> str:
        name = f"test {ApiToken.objects.count() + 1}"
        _, secret = create_token(user=user or self.alice, team=team or self.team, name=name, scopes=scopes or SCOPES, actor=SYSTEM)
        return secret


@pytest.fixture
def portal(db: None, settings: Any) -> Iterator[Portal]:
    """Whatever a test issues here is judged at its end by three programs that did not make it."""
    settings.PKI_CA_API_INLINE, settings.PKI_EMBEDDED = True, False  # commands use the test's worker, not one of their own
    forget_clients()
    forget_backends()
    remembered("portal", _make)
    people = {user.username: user for user in get_user_model().objects.filter(username__in=["alice", "bob", "carol"])}
    yield Portal(Team.objects.get(slug="web"), **people)
    assert_inventory_is_sound()


def _make() -> None:
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    Profile.objects.create(name="tls-client", ekus=["clientAuth"])
    web = Team.objects.create(slug="web", name="Web", default_domain="example.com", email="web@example.com")
    other = Team.objects.create(slug="other", name="Other", default_domain="other.test")
    person("alice", email="alice@example.com", team=web, password=PASSWORD)
    person("bob", email="bob@example.com", team=other, password=PASSWORD)
    person("carol", "security-team", email="carol@example.com", password=PASSWORD)
    Domain.objects.bulk_create(
        [Domain(name="example.com", team=web), Domain(name="example.test", team=web), Domain(name="other.test", team=other)]
    )
    ensure_own_ca(name="Internal-CA-Prod", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)


def assert_inventory_is_sound() -> None:
    """Every certificate in the inventory passes pyca's verifier, OpenSSL's strict one and pkilint, with its stored chain."""
    for certificate in Certificate.objects.select_related("body", "chain").prefetch_related("names"):
        chain = tuple(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(certificate.chain.pem.encode()))
        host = certificate.names.all()[0].name.replace("*", "any")
        assert_certificate_is_sound(bytes(certificate.body.der), chain, host, at=certificate.issued_at)


@pytest.fixture
def worker() -> Iterator[None]:
    """A real worker on the run's broker, in this process: chains and retries are Celery's own.

    Its threads give their database connections back after each task: nobody could close them afterwards, and with them open the
    test database cannot be dropped.
    """
    app.control.purge()
    queues, kept = [queue.name for queue in app.conf.task_queues], app.conf.get("CELERY_DB_REUSE_MAX")
    level = logging.getLogger().level  # the worker sets it for the whole process
    app.conf.update({"CELERY_DB_REUSE_MAX": None})
    try:
        with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, queues=queues, loglevel="ERROR"):
            yield
    finally:
        app.conf.update({"CELERY_DB_REUSE_MAX": kept})
        logging.getLogger().setLevel(level)
