"""A renewal with the key of another CSR: the same names, a new key, the same lineage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.log import Actor
from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.errors import Conflict, CSRRefused, InputRefused, PolicyRefused
from certs.models import Certificate
from certs.renewal.renew import plan_renewal_with_csr, renew_with_csr
from certs.requests.submit import Requester
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from tests.cast import person
from tests.certs.life import PORTAL, brought, finished, issued, new_policy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def csr_of(*names: str, key: Any = None) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    return build_csr(key, common_name=names[0], dns_names=names, ip_addresses=())


def renewed_with(certificate: Certificate, csr: bytes) -> Certificate:
    made = renew_with_csr(certificate, csr, authority=PORTAL, channel="portal")
    return Certificate.objects.get(request=finished(made))


def test_new_key_of_the_owner_follows_the_old_certificate(twin_portal: Requester) -> None:
    old = issued(brought("own.example.com"), twin_portal)
    new = renewed_with(old, csr_of("own.example.com"))
    assert (new.renewed_from, new.key, new.spki_sha256 != old.spki_sha256) == (old, None, True)
    assert new.request.key_reused is False


def test_key_moves_from_the_key_store_to_the_server(twin_portal: Requester, make_spec: MakeSpec) -> None:
    old = issued(make_spec("shop.example.com"), twin_portal)
    new = renewed_with(old, csr_of("shop.example.com"))
    assert (old.key is not None, new.key, new.request.csr_brought) == (True, None, True)


def test_csr_on_the_same_key_keeps_it(twin_portal: Requester) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    old = issued(brought("own.example.com", key=key), twin_portal)
    new = renewed_with(old, csr_of("own.example.com", key=key))
    assert (new.spki_sha256, new.request.key_reused) == (old.spki_sha256, True)


def test_other_names_are_refused_by_name(twin_portal: Requester) -> None:
    old = issued(brought("own.example.com"), twin_portal)
    with pytest.raises(InputRefused, match=r"lacks own\.example\.com and the CSR also has other\.example\.com"):
        renewed_with(old, csr_of("other.example.com"))
    assert Certificate.objects.count() == 1


def test_blocked_key_and_private_key_are_refused(twin_portal: Requester) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    exposed = issued(brought("exposed.example.com", key=key), twin_portal)
    revoke(exposed, reason=RevocationReason.KEY_COMPROMISE, authority=PORTAL)
    old = issued(brought("own.example.com"), twin_portal)
    with pytest.raises(PolicyRefused, match="blocked as compromised"):
        renewed_with(old, csr_of("own.example.com", key=key))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(CSRRefused, match="private key"):
        renewed_with(old, private)


def test_policy_of_now_decides_about_the_new_key(twin_portal: Requester) -> None:
    old = issued(brought("own.example.com"), twin_portal)
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    with pytest.raises(PolicyRefused, match="P-256"):
        renewed_with(old, csr_of("own.example.com"))
    new = renewed_with(old, csr_of("own.example.com", key=ec.generate_private_key(ec.SECP384R1())))
    assert new.key_type == "ec-p384"


def test_validity_is_shortened_to_what_the_policy_of_now_allows(twin_portal: Requester) -> None:
    old = issued(brought("own.example.com"), twin_portal)
    new_policy("v2.4", max_validity={"days": 47})
    plan = plan_renewal_with_csr(old, csr_of("own.example.com"), authority=PORTAL, channel="portal")
    assert (plan.spec.validity_days, any("shortened from 90 to 47" in note for note in plan.notes)) == (47, True)


def test_second_renewal_and_revoked_certificates_are_conflicts(twin_portal: Requester) -> None:
    old = issued(brought("own.example.com"), twin_portal)
    new = renewed_with(old, csr_of("own.example.com"))
    with pytest.raises(Conflict, match="renewed already"):
        renewed_with(old, csr_of("own.example.com"))
    revoke(new, reason=RevocationReason.CESSATION_OF_OPERATION, authority=PORTAL)
    with pytest.raises(Conflict, match="nothing follows it"):
        renewed_with(new, csr_of("own.example.com"))


def test_officer_of_no_team_renews_and_is_told_why_a_csr_is_refused(twin_portal: Requester) -> None:
    olga = person("olga", "security officer")
    old = issued(brought("own.example.com"), twin_portal)
    authority = Authority(Actor("user", "olga"), olga)
    with pytest.raises(CSRRefused):
        plan_renewal_with_csr(old, b"nonsense", authority=authority, channel="portal")
    assert plan_renewal_with_csr(old, csr_of("own.example.com"), authority=authority, channel="portal").may_begin
