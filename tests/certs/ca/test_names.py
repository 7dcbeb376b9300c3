"""Whose CA it is stands in its name: no two portals have the same issuer name."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from django.core.management import CommandError, call_command

from certs.ca.local.setup import ensure_own_ca
from certs.models import Issuer
from db.clock import database_now
from keys.spec import KeySpec
from tests.portal.fixtures import SYSTEM

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def subjects(name: str, **more: str) -> list[x509.Name]:
    """The subjects of an issuing CA and of its root, made just now."""
    issuer, _ = ensure_own_ca(name=name, spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None, **more)
    assert issuer.parent is not None
    ders = [bytes(one.certificate_der or b"") for one in (issuer, issuer.parent)]
    return [x509.load_der_x509_certificate(der).subject for der in ders]


def organizations(names: list[x509.Name]) -> set[str]:
    return {str(name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value) for name in names}


def test_organization_is_in_the_names_of_root_and_issuing_ca() -> None:
    """T11."""
    assert organizations(subjects("A", organization="Example Ltd.")) == {"Example Ltd."}


def test_without_an_organization_the_name_is_unique() -> None:
    """T11: two portals that were set up with the defaults."""
    first, second = (organizations(subjects(name)) for name in ("A", "B"))
    for found in (first, second):
        assert len(found) == 1
        assert re.fullmatch(r"PKI Portal [0-9a-f]{8}", next(iter(found)))
    assert first != second


def test_bootstrap_takes_the_organization(settings: pytest.FixtureRequest) -> None:
    """T11: what is longer than X.509 allows is refused before anything is made."""
    with pytest.raises(CommandError, match="64 characters"):
        call_command("bootstrap", organization="x" * 65)
    assert not Issuer.objects.filter(created_at__lte=database_now()).exists()
    call_command("bootstrap", "--json", organization="Example Ltd.")
    issuer = Issuer.objects.exclude(alias="").get()
    subject = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b"")).subject
    assert organizations([subject]) == {"Example Ltd."}
