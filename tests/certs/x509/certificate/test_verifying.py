"""A CA's answer is believed only when it is what was ordered: one test for each difference."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.errors import SignerMismatch
from certs.x509.asn1.reader import parse
from certs.x509.asn1.writer import tlv
from certs.x509.certificate.profiles import TLS_CLIENT
from certs.x509.certificate.tbs import build_issuing_ca, build_root
from certs.x509.certificate.verify import Expectation, verify_issued
from keys.spec import spki_der, spki_sha256
from tests.certs.x509.certificate.chains import HOST, ISSUER_KINDS, NOW, ROOT_DER, ROOT_KEY, Issuer, issuer_of, key_of, leaf

ISSUER = issuer_of("p-256")
ORDERED = Expectation(
    spki_sha256=spki_sha256(key_of("p-256").public_key()),
    common_name=HOST,
    dns_names=("www.example.com", HOST),
    ip_addresses=(),
    ekus=("serverAuth",),
    not_before_min=NOW - timedelta(minutes=5),
    validity_max=timedelta(days=90),
)
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())


def reasons(der: bytes, chain: tuple[bytes, ...] = ISSUER.chain, ordered: Expectation = ORDERED, **options: Any) -> list[str]:
    """Every difference found; empty when the certificate is believed."""
    settings: dict[str, Any] = {"now": NOW, "trusted_roots": (ROOT_DER,)}
    try:
        verify_issued(der, chain, ordered, **(settings | options))
    except SignerMismatch as exc:
        return exc.reasons
    return []


def test_ordered_certificate_is_believed_and_described() -> None:
    facts = verify_issued(leaf(ISSUER, serial=0x7B << 140), ISSUER.chain, ORDERED, now=NOW, trusted_roots=(ROOT_DER,))
    assert (facts.common_name, facts.dns_names, facts.serial_number) == (HOST, (HOST, "www.example.com"), 0x7B << 140)
    assert (facts.spki_sha256, facts.key.name) == (ORDERED.spki_sha256, "ec-p256")


START = NOW - timedelta(minutes=1)
DIFFERENCES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another key": ({"spki_der": spki_der(OTHER_KEY.public_key())}, ["it certifies another public key"]),
    "a name more": (
        {"dns_names": (HOST, "www.example.com", "x.example.com")},
        ["DNS names are api.example.com, www.example.com, x.example.com"],
    ),
    "a name less": ({"dns_names": (HOST,)}, ["DNS names are api.example.com"]),
    "an address": ({"ip_addresses": ("192.0.2.1",)}, ["IP addresses are 192.0.2.1"]),
    "another common name": ({"common_name": "www.example.com"}, ["the common name is www.example.com"]),
    "from before the order": (
        {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=30)},
        ["notBefore 2026-05-31T12:00:00Z is before the order was made"],
    ),
    "from the future": ({"not_before": NOW + timedelta(hours=1)}, ["notBefore 2026-06-01T13:00:00Z is in the future"]),
    "expired": ({"not_after": NOW}, ["it expired at 2026-06-01T12:00:00Z"]),
    "a second too long": (
        {"not_before": START, "not_after": START + timedelta(days=90)},
        ["it is valid for 90 days, 0:00:01, longer than the 90 days, 0:00:00 ordered"],
    ),
    "another purpose": ({"profile": TLS_CLIENT}, ["extended key usages are clientAuth"]),
    "a short serial number": ({"serial": 1 << 62}, ["the serial number is not between 64 and 159 bits"]),
    "signed by another": ({"signed_by": OTHER_KEY}, ["it is not signed by the CA's certificate"]),
}


def _constrained(**subtrees: list[x509.GeneralName]) -> tuple[Issuer, tuple[bytes, ...]]:
    """An issuing CA whose certificate has these name constraints, and its chain."""
    key, root = key_of("p-256", "constrained"), x509.load_der_x509_certificate(ROOT_DER)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Constrained CA")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(1 << 150)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1000))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.NameConstraints(subtrees.get("permitted"), subtrees.get("excluded")), critical=True)
    )
    for extension in ISSUER.certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints | x509.KeyUsage):
            builder = builder.add_extension(extension.value, critical=True)
    issuer = Issuer(key, builder.sign(ROOT_KEY, hashes.SHA384()).public_bytes(Encoding.DER))
    return issuer, issuer.chain


def _subnet(text: str) -> x509.IPAddress:
    return x509.IPAddress(ip_network(text))


@pytest.mark.parametrize(
    ("subtrees", "outside"),
    [
        ({"permitted": [x509.DNSName("example.com")]}, []),  # about addresses it says nothing
        ({"permitted": [x509.DNSName("example.com"), _subnet("192.0.2.0/24")]}, []),
        ({"permitted": [_subnet("198.51.100.0/24")]}, ["192.0.2.1"]),
        ({"permitted": [_subnet("2001:db8::/32")]}, ["192.0.2.1"]),
        ({"excluded": [_subnet("192.0.2.0/28")]}, ["192.0.2.1"]),
        ({"permitted": [x509.DNSName("example.org")]}, [HOST, "www.example.com"]),
        ({"permitted": [x509.DNSName("example.com")], "excluded": [x509.DNSName("www.example.com")]}, ["www.example.com"]),
    ],
)
def test_name_constraints_hold_for_names_of_their_own_form(subtrees: dict[str, Any], outside: list[str]) -> None:
    """RFC 5280 4.2.1.10: a CA that is held to domains may certify addresses, and one that is held to networks only those."""
    issuer, chain = _constrained(**subtrees)
    ordered = ORDERED._replace(ip_addresses=("192.0.2.1",))
    der = leaf(issuer, ip_addresses=("192.0.2.1",))
    assert reasons(der, chain, ordered) == [f"{name} is outside what CN=Constrained CA may certify" for name in outside]


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_difference_is_named(kind: str) -> None:
    changes, expected = DIFFERENCES[kind]
    assert reasons(leaf(ISSUER, **changes)) == expected


def test_all_differences_are_named_at_once() -> None:
    der = leaf(ISSUER, dns_names=(HOST,), profile=TLS_CLIENT)
    assert reasons(der) == ["DNS names are api.example.com", "extended key usages are clientAuth"]


def _ca_leaf(**usages: bool) -> bytes:
    """A certificate that could sign others, with all that was ordered besides."""
    start = NOW - timedelta(minutes=1)
    signs = {name: usages.get(name, False) for name in ("key_cert_sign", "crl_sign")}
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
        **signs,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ISSUER.certificate.subject)
        .public_key(key_of("p-256").public_key())
        .serial_number(1 << 150)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in ORDERED.dns_names]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=usages.get("ca", False), path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    return builder.sign(ISSUER.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ({}, []),
        ({"ca": True}, ["it is a CA certificate"]),
        ({"key_cert_sign": True}, ["its key usage would let it sign certificates or CRLs"]),
        ({"crl_sign": True}, ["its key usage would let it sign certificates or CRLs"]),
    ],
    ids=["none", "ca", "certificates", "crls"],
)
def test_certificate_that_could_sign_is_refused(usages: dict[str, bool], expected: list[str]) -> None:
    assert reasons(_ca_leaf(**usages)) == expected


@pytest.mark.parametrize("der", [b"", b"\x30\x00", ROOT_DER + b"\x00", b"not a certificate"], ids=["nothing", "empty", "tail", "text"])
def test_answer_that_is_no_certificate_is_refused(der: bytes) -> None:
    (reason,) = reasons(der)
    assert reason.startswith("it is not a readable certificate")


def test_missing_chain_is_refused() -> None:
    assert reasons(leaf(ISSUER), ()) == ["no chain came with it"]


def test_chain_to_another_root_is_refused() -> None:
    other = build_root(ROOT_KEY, name="Other Root", now=NOW, years=10)
    assert reasons(leaf(ISSUER), trusted_roots=(other,)) == ["the chain does not end in the root pinned for this CA"]


def test_chain_cut_short_is_refused() -> None:
    assert reasons(leaf(ISSUER), (ISSUER.der,)) == [
        "the chain's CN=Test Issuing CA p-256 is not signed by the next link",
        "the chain does not end in the root pinned for this CA",
    ]


def test_chain_through_a_leaf_is_refused() -> None:
    middle = leaf(ISSUER)
    below = replace(ISSUER, key=key_of("p-256"), der=middle)
    found = reasons(leaf(below), (middle, *ISSUER.chain))
    assert "the chain's CN=api.example.com,O=Example Ltd. is not a CA" in found


def test_chain_longer_than_its_path_length_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    under = build_issuing_ca(ISSUER.key, ISSUER.certificate, key.public_key(), name="Under", now=NOW, years=1)
    found = reasons(leaf(replace(ISSUER, key=key, der=under)), (under, *ISSUER.chain))
    assert found == ["the chain is longer than CN=Test Issuing CA p-256 allows"]


@pytest.mark.parametrize("kind", ISSUER_KINDS)
def test_right_key_under_another_name_is_not_the_issuer(kind: str) -> None:
    """RFC 5280 6.1.3 (a) (4): the issuer's name is the subject of the CA's certificate, whoever's key has signed."""
    issuer = issuer_of(kind)
    root = x509.load_der_x509_certificate(ROOT_DER)
    renamed = build_issuing_ca(ROOT_KEY, root, issuer.key.public_key(), name="Another CA", now=NOW, years=5)
    assert reasons(leaf(issuer), issuer.chain) == []
    assert reasons(leaf(issuer), (renamed, ROOT_DER)) == ["it is not signed by the CA's certificate"]


@pytest.mark.parametrize("kind", ISSUER_KINDS)
def test_changed_signature_is_not_believed(kind: str) -> None:
    issuer = issuer_of(kind)
    der = bytearray(leaf(issuer))
    der[-3] ^= 1
    assert "it is not signed by the CA's certificate" in reasons(bytes(der), issuer.chain)


def test_expired_chain_is_refused() -> None:
    later = NOW + timedelta(days=365 * 6)
    start = later - timedelta(minutes=1)
    der = leaf(ISSUER, not_before=start, not_after=start + timedelta(days=30))
    assert reasons(der, now=later, ordered=ORDERED._replace(not_before_min=start)) == [
        "the chain's CN=Test Issuing CA p-256 is not valid now"
    ]


ECDSA_SHA1, ECDSA_SHA256, ECDSA_SHA384, RSA_SHA256 = map(
    bytes.fromhex, ("300906072a8648ce3d0401", "300a06082a8648ce3d040302", "300a06082a8648ce3d040303", "300d06092a864886f70d01010b0500")
)


@pytest.mark.parametrize(
    ("inner", "outer"), [(ECDSA_SHA1, ECDSA_SHA256), (ECDSA_SHA384, ECDSA_SHA256), (RSA_SHA256, RSA_SHA256)], ids=["SHA-1", "two", "RSA"]
)
def test_signature_algorithm_that_is_not_the_one_used_is_not_believed(inner: bytes, outer: bytes) -> None:
    """RFC 5280 4.1.1.2: the algorithm stands twice and must be the same. No verifier would accept these, whatever the signature."""
    certificate = x509.load_der_x509_certificate(leaf(ISSUER))
    parts = [inner if child.raw == ECDSA_SHA256 else child.raw for child in parse(certificate.tbs_certificate_bytes).children]
    tbs = tlv(0x30, *parts)
    signature = ISSUER.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    assert "it is not signed by the CA's certificate" in reasons(tlv(0x30, tbs, outer, tlv(0x03, b"\x00" + signature)))


LEAF = leaf(ISSUER)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_changed_octets_of_certificate_or_chain_are_a_mismatch_and_no_other_error(data: st.DataObject) -> None:
    """What a hostile CA may return: one octet changed anywhere, or a piece left out."""
    chain = [LEAF, *ISSUER.chain]
    number = data.draw(st.integers(0, len(chain) - 1))
    der = bytearray(chain[number])
    place = data.draw(st.integers(0, len(der) - 1))
    if data.draw(st.booleans()):
        der[place] = data.draw(st.integers(0, 255).filter(lambda octet: octet != der[place]))
    else:
        del der[place : place + data.draw(st.integers(1, 8))]
    chain[number] = bytes(der)
    with pytest.raises(SignerMismatch):
        verify_issued(chain[0], tuple(chain[1:]), ORDERED, now=NOW, trusted_roots=(ROOT_DER,))
