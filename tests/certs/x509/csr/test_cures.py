"""What a refusal of a CSR says: the field of the part, the reason, and what its owner can do about it."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certs.errors import CSRRefused
from certs.x509.csr.gate import read_csr
from tests.certs.x509.csr.requests import (
    BC,
    CN,
    EKU,
    GOOD_ATTRIBUTES,
    GOOD_SUBJECT,
    SAN,
    SPKI,
    attribute,
    extension,
    judge,
    oid,
    rdn,
    request,
    requested,
    seq,
    tlv,
    with_extensions,
    with_names,
)

RSA_KEY = rsa.generate_private_key(65537, 2048)
SHA256 = seq(oid("2.16.840.1.101.3.4.2.1"), tlv(5))
MGF1 = seq(oid("1.2.840.113549.1.1.8"), SHA256)
HASH, MASK, SALT = tlv(0xA0, SHA256), tlv(0xA1, MGF1), tlv(0xA2, tlv(2, b"\x20"))


def refusal(data: bytes) -> CSRRefused:
    with pytest.raises(CSRRefused) as caught:
        read_csr(data, domains=("example.test",))
    return caught.value


def signed_with_pss(*parameters: bytes) -> bytes:
    spki = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = seq(b"\x02\x01\x00", seq(*GOOD_SUBJECT), spki, tlv(0xA0, *GOOD_ATTRIBUTES))
    signature = RSA_KEY.sign(info, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    return seq(info, seq(oid("1.2.840.113549.1.1.10"), seq(*parameters)), tlv(3, b"\x00", signature))


OFF_ITS_CURVE = SPKI[:-1] + bytes([SPKI[-1] ^ 1])
PARTS: dict[str, tuple[bytes, str, str]] = {
    "an address of 5 octets": (request(attributes=(requested(extension(SAN, seq(tlv(0x87, bytes(5))))),)), "san", "DNS names"),
    "names that are no list": (request(attributes=(requested(extension(SAN, tlv(0x0C, b"a"))),)), "san", "DNS names"),
    "a purpose that is a number": (with_extensions(extension(EKU, seq(tlv(2, b"\x01")))), "extensions", "names only"),
    "constraints that end too early": (with_extensions(extension(BC, b"")), "extensions", "names only"),
    "an attribute without values": (request(attributes=(seq(oid("1.2.3")),)), "extensions", "names only"),
    "a point off its curve": (request(spki=OFF_ITS_CURVE), "public_key", "Make a new key"),
    "a common name of octets": (request(subject=(rdn(CN, b"a.example.test", 0x04),)), "subject", "common name such as"),
    "parameters of ECDSA": (
        request(algorithm=seq(oid("1.2.840.10045.4.3.2"), tlv(5))),
        "signature",
        "openssl req",
    ),
    "a salt of many octets": (signed_with_pss(HASH, MASK, tlv(0xA2, tlv(2, b"\x7f" * 200))), "signature", "openssl req"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_malformed_part_is_named_with_what_its_owner_can_do(kind: str) -> None:
    """Principle of the findings G: "Send one PKCS#10 request" is no help to somebody who sent one."""
    data, field, cure = PARTS[kind]
    refused = refusal(data)
    assert (str(refused.refusal), refused.field) == ("malformed", field)
    assert cure in str(refused.next_step)
    assert "Send one PKCS#10 request" not in str(refused.next_step)


def test_file_that_is_no_request_is_answered_with_what_one_is() -> None:
    assert (refusal(seq(seq())).field, refusal(seq(seq())).next_step[:4]) == ("csr", "Send")


def test_pss_signature_with_each_parameter_once_and_in_order_is_accepted() -> None:
    assert judge(signed_with_pss(HASH, MASK, SALT)) == ("accept", "")


@pytest.mark.parametrize(
    "parameters",
    [(HASH, HASH, MASK, SALT), (MASK, HASH, SALT), (HASH, MASK, SALT, tlv(0xA5, tlv(5)))],
    ids=["the hash twice", "out of order", "one that is not known"],
)
def test_pss_parameters_that_two_readers_could_read_differently_are_refused(parameters: tuple[bytes, ...]) -> None:
    assert judge(signed_with_pss(*parameters)) == ("reject", "malformed")


@pytest.mark.parametrize("algorithm", ["1.2.3.4", "1.2.840.113549.1.1.11"], ids=["unknown", "of another kind of key"])
def test_signature_by_an_algorithm_that_its_key_does_not_have_is_said_to_be_that(algorithm: str) -> None:
    refused = refusal(request(algorithm=seq(oid(algorithm))))
    assert (str(refused.refusal), refused.field) == ("bad_signature", "signature")
    assert "an algorithm that its key does not have" in refused.message


@pytest.mark.parametrize(
    ("kind", "value", "tag"),
    [
        ("2.5.4.45", b"\x00\x80", 0x03),
        ("1.3.6.1.5.5.7.9.1", b"19900101000000Z", 0x18),
        ("2.5.4.17", b"80331", 0x12),
        ("2.5.4.16", tlv(0x0C, b"Street 1"), 0x30),
    ],
    ids=["unique identifier", "date of birth", "postal code of digits", "postal address"],
)
def test_subject_attribute_of_another_type_is_left_behind(kind: str, value: bytes, tag: int) -> None:
    """Principle of the findings G: fields that are not used are not judged."""
    assert judge(request(subject=(rdn(kind, value, tag), *GOOD_SUBJECT))) == ("accept_strip", "")


def test_text_that_pages_may_show_is_judged_whatever_its_type_is() -> None:
    assert judge(request(subject=(rdn("2.5.4.17", b"<script>", 0x1A), *GOOD_SUBJECT))) == ("reject", "unsafe_subject")


REASONS = {
    "a.example.test.": "ends with a dot",
    "a.example.test:443": "a scheme, port, path or user",
    "https://a.example.test": "a scheme, port, path or user",
    "_dmarc.example.test": "an underscore",
    "a.example.test\n": "a blank or a line end",
    "010.0.0.1": "no IP address as standards write it",
    "10.0.0.1": "an IP address is not a DNS name",
    "a..example.test": "an empty label",
    "*.test": "would cover every name of a registry",
}


@pytest.mark.parametrize("name", REASONS, ids=repr)
def test_reason_why_a_name_is_refused_is_the_one_that_mends_it(name: str) -> None:
    refused = refusal(with_names(name))
    assert REASONS[name] in refused.message
    assert refused.field == "san"


def test_private_key_in_base64_within_base64_is_found() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    refused = refusal(base64.b64encode(text))
    assert str(refused.refusal) == "secret_pasted"
    assert refused.exposed_keys


def test_refused_attribute_names_the_extensions_also_of_a_request_that_is_too_large() -> None:
    broken = request(attributes=(attribute("1.2.3", tlv(0x0C, b"x" * 70_000)), seq(oid("1.2.3"))))
    assert refusal(broken).field == "extensions"
