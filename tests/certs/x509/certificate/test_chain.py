"""The certificates above a certificate, as files are made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.chain import intermediates_of, links_of, pkcs7_of, root_of
from certs.x509.certificate.tbs import build_issuing_ca, build_root

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT_KEY, CA_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ROOT = build_root(ROOT_KEY, name="Root", now=NOW, years=9)
CA = build_issuing_ca(ROOT_KEY, x509.load_der_x509_certificate(ROOT), CA_KEY.public_key(), name="Issuing CA", now=NOW, years=5)
WHOLE = pem_of(CA) + pem_of(ROOT)


def test_a_server_sends_the_intermediates_and_not_the_root() -> None:
    """RFC 8446 4.4.2: a client that trusts the root has it."""
    assert intermediates_of(WHOLE) == pem_of(CA)
    assert intermediates_of(pem_of(CA)) == pem_of(CA)
    assert intermediates_of(pem_of(ROOT)) == ""


def test_the_root_is_the_certificate_that_issued_itself() -> None:
    assert root_of(WHOLE) == pem_of(ROOT)
    assert root_of(pem_of(CA)) == ""


def test_links_are_told_from_the_root_down() -> None:
    root, issuing = links_of(WHOLE)
    assert (root.name, root.is_root, issuing.name, issuing.is_root) == ("Root", True, "Issuing CA", False)
    assert root.ends - issuing.ends > timedelta(days=365 * 3)
    assert [link.name for link in links_of(pem_of(CA))] == ["Issuing CA"]


def test_a_pkcs7_file_holds_every_certificate() -> None:
    found = pkcs7.load_pem_pkcs7_certificates(pkcs7_of(WHOLE))
    assert {one.public_bytes(Encoding.DER) for one in found} == {CA, ROOT}


def test_a_certificate_without_a_chain_has_nothing_above_it() -> None:
    assert (intermediates_of(""), root_of(""), links_of("")) == ("", "", ())
