"""Certificates for every kind of issuer and leaf are sound to programs that did not make them, and to our own linter."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from certs.x509.certificate.lint import lint
from certs.x509.certificate.profiles import TLS_CLIENT, TLS_SERVER, Profile
from certs.x509.certificate.tbs import UnsignedCertificate
from keys.spec import spki_der
from tests.certs.x509.certificate.chains import HOST, ISSUER_KINDS, LEAF_KINDS, NOW, issuer_of, leaf, unsigned_leaf
from tests.certs.x509.certificate.checkers import assert_certificate_is_sound, lint_findings


@pytest.mark.parametrize("leaf_kind", LEAF_KINDS)
@pytest.mark.parametrize("issuer_kind", ISSUER_KINDS)
def test_certificate_of_every_kind_is_sound(issuer_kind: str, leaf_kind: str) -> None:
    issuer = issuer_of(issuer_kind)
    assert_certificate_is_sound(leaf(issuer, leaf_kind), issuer.chain, HOST, at=NOW)


@pytest.mark.parametrize("issuer_kind", ISSUER_KINDS)
def test_certificate_passes_our_linter(issuer_kind: str) -> None:
    issuer = issuer_of(issuer_kind)
    assert lint(unsigned_leaf(issuer), issuer=issuer.certificate) == []


def test_certificate_with_an_empty_subject_is_sound_and_its_names_critical() -> None:
    issuer = issuer_of("p-256")
    der = leaf(issuer, common_name="", organization="")
    assert_certificate_is_sound(der, issuer.chain, HOST, at=NOW)
    assert x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is True


def test_certificate_with_wildcard_and_addresses_holds_them_all() -> None:
    issuer = issuer_of("p-256")
    der = leaf(issuer, dns_names=(HOST, "*.apps.example.com"), ip_addresses=("192.0.2.7", "2001:db8::7"))
    assert_certificate_is_sound(der, issuer.chain, "x.apps.example.com", at=NOW)
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::7")]


def test_checker_refuses_a_certificate_for_another_host() -> None:
    issuer = issuer_of("p-256")
    with pytest.raises(x509.verification.VerificationError):
        assert_certificate_is_sound(leaf(issuer), issuer.chain, "other.example.com", at=NOW)


def test_checker_refuses_a_certificate_signed_by_another_key() -> None:
    issuer = issuer_of("p-256")
    with pytest.raises(x509.verification.VerificationError):
        assert_certificate_is_sound(leaf(issuer, signed_by=issuer_of("p-384").key), issuer.chain, HOST, at=NOW)


def test_checker_lint_finds_another_issuer() -> None:
    der = leaf(issuer_of("p-256"))
    assert lint_findings(der, issuer_of("p-384").der) != []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"serial": 77}, "serialNumber: fewer than 64 bits can be guessed"),
        ({"dns_names": (HOST, HOST)}, "subjectAltName: the same name twice"),
        ({"dns_names": (HOST, "WWW.example.com")}, "subjectAltName: upper case"),
        ({"common_name": "other.example.com"}, "subject: the common name is not among the names"),
        ({"not_after": NOW + timedelta(days=6000)}, "validity: outside the issuer's"),
        ({"not_after": NOW}, "validity: ends before it begins; the issuer itself is about to expire"),
    ],
    ids=["serial", "double", "upper case", "common name", "long", "short"],
)
def test_lint_names_the_defect(changes: dict[str, Any], expected: str) -> None:
    issuer = issuer_of("p-256")
    if "not_after" in changes and changes["not_after"] == NOW:
        changes = changes | {"not_before": NOW - timedelta(seconds=30)}
    assert lint(unsigned_leaf(issuer, **changes), issuer=issuer.certificate) == [expected]


def test_lint_refuses_the_issuers_own_key() -> None:
    issuer = issuer_of("p-256")
    found = lint(unsigned_leaf(issuer, spki_der=spki_der(issuer.key.public_key())), issuer=issuer.certificate)
    assert found == ["subjectPublicKeyInfo: the issuer's own key"]


@pytest.mark.parametrize("leaf_kind", ["rsa-3072", "p-256", "ed25519"])
@pytest.mark.parametrize("profile", [TLS_SERVER, TLS_CLIENT], ids=lambda one: one.name)
def test_key_usage_follows_profile_and_key_type(profile: Profile, leaf_kind: str) -> None:
    """T8: keyEncipherment is for the RSA key of a TLS server only (RFC 5280 4.2.1.12)."""
    issuer = issuer_of("p-256")
    unsigned = unsigned_leaf(issuer, leaf_kind, profile=profile)
    assert lint(unsigned, issuer=issuer.certificate) == []
    der = leaf(issuer, leaf_kind, profile=profile)
    usage = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature is True
    assert usage.key_encipherment is (profile is TLS_SERVER and leaf_kind == "rsa-3072")


def test_lint_refuses_key_encipherment_for_a_client() -> None:
    """T8: whatever made the TBS, the linter sees it before anything is signed."""
    issuer = issuer_of("p-256")
    unsigned = unsigned_leaf(issuer, "rsa-3072", profile=TLS_SERVER)
    client = unsigned.tbs.replace(bytes.fromhex("06082b06010505070301"), bytes.fromhex("06082b06010505070302"))
    found = lint(UnsignedCertificate(client, unsigned.signature_algorithm_der), issuer=issuer.certificate)
    assert found == ["keyUsage: keyEncipherment is for TLS servers (RFC 5280 4.2.1.12)"]
