"""CSRs written octet by octet and then truly signed: what no library would make, but anybody can send."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ObjectIdentifier

from certs.errors import CSRRefused
from certs.x509.asn1.writer import der_length
from certs.x509.csr.gate import read_csr

KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
CN, ORGANIZATION, OU, COUNTRY, EMAIL = "2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.6", "1.2.840.113549.1.9.1"
SAN, BC, KU, EKU = "2.5.29.17", "2.5.29.19", "2.5.29.15", "2.5.29.37"
EXTENSION_REQUEST, MS_EXTENSION_REQUEST, CHALLENGE_PASSWORD = "1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14", "1.2.840.113549.1.9.7"


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag]) + der_length(len(content)) + content


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def oid(dotted: str) -> bytes:
    """By way of the first two arcs in one octet and base 128 for the rest (X.690 8.19)."""
    first, second, *rest = map(int, ObjectIdentifier(dotted).dotted_string.split("."))
    octets = bytearray()
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        octets += bytes(reversed(digits))
    return tlv(6, bytes(octets))


def rdn(kind: str, value: bytes, tag: int = 0x0C) -> bytes:
    return tlv(0x31, seq(oid(kind), tlv(tag, value)))


def extension(kind: str, value: bytes, *, critical: bytes = b"") -> bytes:
    return seq(oid(kind), critical, tlv(4, value))


def dns(*names: str) -> bytes:
    return seq(*(tlv(0x82, name.encode("latin-1")) for name in names))


def san(*names: str) -> bytes:
    return extension(SAN, dns(*names))


def attribute(kind: str, *values: bytes) -> bytes:
    return seq(oid(kind), tlv(0x31, *values))


def requested(*extensions: bytes, kind: str = EXTENSION_REQUEST) -> bytes:
    return attribute(kind, seq(*extensions))


GOOD_SUBJECT = (rdn(CN, b"a.example.test"),)
GOOD_ATTRIBUTES = (requested(san("a.example.test")),)


def request(
    subject: Sequence[bytes] = GOOD_SUBJECT,
    attributes: Sequence[bytes] = GOOD_ATTRIBUTES,
    *,
    version: bytes = b"\x02\x01\x00",
    spki: bytes = SPKI,
    algorithm: bytes = ECDSA_SHA256,
    attribute_set: bytes | None = None,
    unused_bits: bytes = b"\x00",
    behind: bytes = b"",
) -> bytes:
    """A CertificationRequest in DER (RFC 2986 4), its parts as given, signed by KEY over exactly these octets."""
    written = attribute_set if attribute_set is not None else tlv(0xA0, *attributes)
    info = seq(version, seq(*subject), spki, written)
    return seq(info, algorithm, tlv(3, unused_bits, KEY.sign(info, ec.ECDSA(hashes.SHA256()))), behind)


def with_names(*names: str) -> bytes:
    return request(attributes=(requested(san(*names)),), subject=())


def with_extensions(*extensions: bytes) -> bytes:
    return request(attributes=(requested(san("a.example.test"), *extensions),))


def pem(der: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


def judge(data: bytes) -> tuple[str, str]:
    """(verdict, class of refusal), as the corpus writes them."""
    try:
        return read_csr(data, domains=("example.test",)).verdict, ""
    except CSRRefused as refused:
        return "reject", str(refused.refusal)
