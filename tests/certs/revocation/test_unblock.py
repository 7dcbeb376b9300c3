"""Unblocking a public key: an officer's decision with a reason, and never against what relying parties have learned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction

from audit.models import AuditEvent
from certs.enums import RevocationReason as R
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted
from certs.models import Certificate, OperatorAlert
from certs.requests.exposure.key_blocks import block_key
from certs.revocation.revoke import revoke
from certs.revocation.unblock import MOST_REASON, unblock_key
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import PublicKey
from tests.cast import Cast
from tests.certs.life import PORTAL, SYSTEM, issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
WHY = "The file was a test key of the same name."


@pytest.fixture
def certificate(cast: Cast, make_spec: Callable[..., CertificateSpec]) -> Certificate:
    return issued(make_spec(), cast.requester("requester"))


def blocked(certificate: Certificate) -> bool:
    return PublicKey.objects.get(pk=certificate.spki_sha256).blocked_at is not None


def block(certificate: Certificate) -> str:
    """Block the key, as when its private key was sent to the portal."""
    with transaction.atomic():
        block_key(certificate.spki_sha256, team="web", reason="test", now=database_now(), actor=SYSTEM)
    assert blocked(certificate)
    return certificate.spki_sha256


@pytest.mark.parametrize("spelling", ["hash", "colons", "certificate"])
def test_an_officer_unblocks_a_key_by_each_of_its_names(cast: Cast, certificate: Certificate, spelling: str) -> None:
    spki = block(certificate)
    colons = ":".join(spki[at : at + 2] for at in range(0, 64, 2)).upper()
    name = {"hash": spki.upper(), "colons": colons, "certificate": f" {certificate.cert_id} "}[spelling]
    done = unblock_key(name, reason=f"  {WHY}\n", authority=cast.authority("officer"))
    assert done == {"success": True, "spki_sha256": spki, "blocked": False, "certificates": [certificate.cert_id]}
    assert not blocked(certificate)
    (event,) = AuditEvent.objects.filter(event="key:unblocked")
    assert (event.actor_name, event.data["reason"]) == ("officer", WHY)
    assert WHY in OperatorAlert.objects.get(kind="key_unblocked").message
    certificate.refresh_from_db()
    assert certificate.status == Certificate.Status.GOOD


@pytest.mark.parametrize("name", ["requester", "approver", "auditor", "operator", "outsider", "nobody"])
def test_nobody_but_an_officer_unblocks_a_key(cast: Cast, certificate: Certificate, name: str) -> None:
    spki = block(certificate)
    with pytest.raises(NotPermitted, match="Only a security officer"):
        unblock_key(spki, reason=WHY, authority=cast.authority(name))
    assert blocked(certificate)


@pytest.mark.parametrize("reason", ["", " \n ", "x" * (MOST_REASON + 1)])
def test_a_reason_is_given_in_a_few_words(cast: Cast, certificate: Certificate, reason: str) -> None:
    spki = block(certificate)
    with pytest.raises(InputRefused) as refused:
        unblock_key(spki, reason=reason, authority=cast.authority("officer"))
    assert (refused.value.field, blocked(certificate)) == ("reason", True)


def test_a_secret_is_no_reason(cast: Cast, certificate: Certificate) -> None:
    spki = block(certificate)
    with pytest.raises(CSRRefused):
        unblock_key(spki, reason="token hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz", authority=cast.authority("officer"))
    assert blocked(certificate)


@pytest.mark.parametrize("name", ["", "0" * 64, "cert-unknown"])
def test_a_key_that_is_not_known_here_cannot_be_unblocked(cast: Cast, certificate: Certificate, name: str) -> None:
    with pytest.raises(NotFound):
        unblock_key(name, reason=WHY, authority=cast.authority("officer"))


def test_a_key_that_is_not_blocked_is_left_as_it_is(cast: Cast, certificate: Certificate) -> None:
    with pytest.raises(Conflict, match="is not blocked"):
        unblock_key(certificate.cert_id, reason=WHY, authority=cast.authority("officer"))
    assert not AuditEvent.objects.filter(event="key:unblocked").exists()


def test_what_relying_parties_learned_is_final(cast: Cast, certificate: Certificate) -> None:
    revoke(certificate, reason=R.KEY_COMPROMISE, authority=PORTAL, begin=False)
    assert blocked(certificate)
    with pytest.raises(Conflict, match="revoked as keyCompromise"):
        unblock_key(certificate.cert_id, reason=WHY, authority=cast.authority("officer"))
    assert blocked(certificate)


def test_the_alerts_about_the_block_are_closed(cast: Cast, certificate: Certificate) -> None:
    block(certificate)
    assert opened() == {"key_blocked"}
    unblock_key(certificate.cert_id, reason=WHY, authority=cast.authority("officer"))
    assert opened() == {"key_unblocked"}


def opened() -> set[str]:
    return set(OperatorAlert.objects.filter(closed_at=None).values_list("kind", flat=True))
