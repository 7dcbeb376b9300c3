"""A small portal on twins: policy v2.3, one team, one CA that can be told to misbehave."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from audit.log import Actor
from certs.ca.registry import get_ca_client
from certs.models import Domain, Issuer, Team
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.registry import get_key_backend
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.harness.plugin.remembered import remembered
from tests.twins.ca import TwinCAClient
from tests.twins.keys import TwinKeyBackend

SYSTEM = Actor("system", "test")


@pytest.fixture
def twin_portal(db: None, settings: Any) -> Requester:
    """Answers who asks: a member of the team that owns example.com."""
    settings.CA_CLIENTS = {"Twin-CA": {"CLIENT": "tests.twins.ca.TwinCAClient"}}
    settings.KEY_BACKENDS = {"twin": {"BACKEND": "tests.twins.keys.TwinKeyBackend"}}
    settings.PKI_LEAF_KEY_BACKEND, settings.PKI_DEFAULT_CA = "twin", "Twin-CA"
    settings.PKI_EMBEDDED = False  # commands use the test's worker, not one of their own
    remembered("portal on twins", _make)
    client = get_ca_client("Twin-CA")
    assert isinstance(client, TwinCAClient)
    Issuer.objects.create(name="Twin-CA", slug="twin-ca", alias="Twin-CA", trust_anchor_der=client.root_der, created_at=database_now())
    return Requester(actor=Actor("user", "alice"), team=Team.objects.get(slug="web"), channel="portal")


def _make() -> None:
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)


@pytest.fixture
def twin_ca(twin_portal: Requester) -> TwinCAClient:
    client = get_ca_client("Twin-CA")
    assert isinstance(client, TwinCAClient)
    return client


@pytest.fixture
def twin_keys(twin_portal: Requester) -> TwinKeyBackend:
    backend = get_key_backend("twin")
    assert isinstance(backend, TwinKeyBackend)
    return backend


@pytest.fixture
def make_spec() -> Callable[..., CertificateSpec]:
    def make(
        name: str = "api.example.com", *, key: str = "ec-p256", days: int = 90, profile: str = "tls-server", until: date | None = None
    ) -> CertificateSpec:
        return CertificateSpec(name, (name,), (), key, None if until else days, profile, not_after=until)

    return make
