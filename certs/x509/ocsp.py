"""OCSP requests and responses (RFC 6960, the profile of RFC 9919, nonces by RFC 9654). Pure: bytes in, bytes out.

A request is read tolerantly, within limits: a client that gets no response often goes on as if the certificate were good. A response
is strict DER. It is put together by hand, for pyca's builder takes several times as long and knows only one certificate at a time;
tests compare the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from certs.enums import RevocationReason
from certs.x509.asn1 import ber, reader
from certs.x509.asn1.writer import bit_string, extension, generalized_time, integer, tlv
from certs.x509.crl import REASON_CODES

MAX_REQUEST = 4096  # octets; a request for one certificate has about 80
MAX_CERTIFICATES = 10
MAX_NONCE = 128  # RFC 9654 2.1: 1 to 128 octets
_HASHES: dict[bytes, str] = {
    bytes.fromhex("06052b0e03021a"): "sha1",
    bytes.fromhex("0609608648016503040201"): "sha256",
    bytes.fromhex("0609608648016503040202"): "sha384",
    bytes.fromhex("0609608648016503040203"): "sha512",
}
_OID_NONCE = bytes.fromhex("06092b0601050507300102")
_OID_BASIC = bytes.fromhex("06092b0601050507300101")
_NONCE = "1.3.6.1.5.5.7.48.1.2"
_HARMLESS = ("1.3.6.1.5.5.7.48.1.4", "1.3.6.1.5.5.7.48.1.8")  # AcceptableResponses, PreferredSignatureAlgorithms


class RawNonce(bytes):
    """A nonce that was sent without its OCTET STRING and is returned likewise: its client compares
    octets.
    """


class MalformedRequest(ValueError):
    """Not an OCSPRequest within the limits; the message has the reason, never the bytes."""


@dataclass(frozen=True, slots=True)
class CertID:
    """The requested certificate (RFC 6960 4.1.1). `raw` is echoed, so that the response names it as
    the request does.
    """

    raw: bytes
    issuer: tuple[str, bytes, bytes]  # hash algorithm, hash of the issuer's name, hash of its key
    serial: str  # lower-case hex without leading zeros


@dataclass(frozen=True, slots=True)
class OCSPRequest:
    certificates: tuple[CertID, ...]
    nonce: bytes | None  # the Nonce's octets, 1 to 128 of them


def parse_request(data: bytes) -> OCSPRequest:
    """Read whatever can be understood in one way. Raises MalformedRequest.

    A signature on the request and the requestor's name are not looked at (RFC 9919 3.1.2).
    """
    if len(data) > MAX_REQUEST:
        raise MalformedRequest(f"longer than {MAX_REQUEST} octets")
    try:
        return _request(ber.parse(data))
    except reader.NotDER as exc:
        raise MalformedRequest(str(exc)) from exc


def _request(root: reader.Node) -> OCSPRequest:
    """Read OCSPRequest ::= SEQUENCE { tbsRequest, [0] optionalSignature OPTIONAL }."""
    tbs = _sequence(root).child(0, reader.SEQUENCE)
    if len(root.children) > 2 or (len(root.children) == 2 and root.children[1].tag != 0xA0):
        raise MalformedRequest("something stands behind the request")
    fields = list(tbs.children)
    if fields and fields[0].tag == 0xA0:
        _check_version(fields.pop(0))
    if fields and fields[0].tag == 0xA1:
        fields.pop(0)  # requestorName
    if not fields or fields[0].tag != reader.SEQUENCE:
        raise MalformedRequest("the list of certificates is missing")
    asked, rest = fields[0].children, fields[1:]
    if not 0 < len(asked) <= MAX_CERTIFICATES:
        raise MalformedRequest(f"it asks for {len(asked)} certificates, 1 to {MAX_CERTIFICATES} can be")
    if len(rest) > 1 or (rest and rest[0].tag != 0xA2):
        raise MalformedRequest("something stands behind the list of certificates")
    nonce = _nonce(_extensions(rest[0])) if rest else None
    return OCSPRequest(tuple(_cert_id(one) for one in asked), nonce)


def _check_version(wrapped: reader.Node) -> None:
    """Accept v1 written out, as macOS does, although DER leaves a DEFAULT away (X.690 11.5)."""
    if len(wrapped.children) != 1 or reader.integer(wrapped.child(0)) != 0:
        raise MalformedRequest("its version is not v1")


def _sequence(node: reader.Node) -> reader.Node:
    if node.tag != reader.SEQUENCE:
        raise MalformedRequest("it is not a SEQUENCE")
    return node


def _cert_id(node: reader.Node) -> CertID:
    """Read Request ::= SEQUENCE { reqCert CertID, [0] singleRequestExtensions OPTIONAL }."""
    certificate = _sequence(node).child(0, reader.SEQUENCE)
    if len(node.children) > 2 or (len(node.children) == 2 and node.children[1].tag != 0xA0):
        raise MalformedRequest("something stands behind a CertID")
    if len(node.children) == 2:
        _refuse_critical(_extensions(node.children[1]))
    algorithm = certificate.child(0, reader.SEQUENCE)
    name_hash, key_hash = (ber.octets(certificate.child(place)) for place in (1, 2))
    number = reader.integer(certificate.child(3))
    parameters = algorithm.children[1:]
    if len(certificate.children) != 4:
        raise MalformedRequest("a CertID is not made of an algorithm, two hashes and a serial number")
    if len(parameters) > 1 or any(one.tag != reader.NULL or one.content for one in parameters):
        raise MalformedRequest("a hash algorithm has parameters")
    if number <= 0 or number.bit_length() > 167:
        raise MalformedRequest("a serial number is not positive, or longer than 20 octets")
    # The response repeats the CertID as it was requested, with or without NULL, in DER.
    oid = algorithm.child(0)
    hashed_with = tlv(0x30, tlv(reader.OID, oid.content), *(tlv(reader.NULL) for _ in parameters))
    raw = tlv(0x30, hashed_with, tlv(0x04, name_hash), tlv(0x04, key_hash), integer(number))
    name = _HASHES.get(tlv(oid.tag, oid.content), "")
    if not name:
        reader.parse(raw)  # of all that is copied, only an unknown OID could be no DER
    return CertID(raw, (name, name_hash, key_hash), f"{number:x}")


def _extensions(wrapped: reader.Node) -> dict[str, tuple[bool, bytes]]:
    """Return critical flag and value of each extension by its OID. An empty list is none.

    The same extension twice is refused unless both are the same: which one is meant?
    """
    if len(wrapped.children) > 1:
        raise MalformedRequest("extensions are not one SEQUENCE")
    found: dict[str, tuple[bool, bytes]] = {}
    for one in _sequence(wrapped.children[0]).children if wrapped.children else ():
        fields = _sequence(one).children
        if len(fields) not in (2, 3):
            raise MalformedRequest("an extension is not well formed")
        critical = ber.boolean(fields[1]) if len(fields) == 3 else False
        value = critical, ber.octets(fields[-1])
        if found.setdefault(reader.dotted(one.child(0)), value) != value:
            raise MalformedRequest("an extension is there twice, with two values")
    return found


def _nonce(extensions: dict[str, tuple[bool, bytes]]) -> bytes | None:
    """Return the nonce; raw octets without the OCTET STRING of RFC 9654 are one too."""
    _refuse_critical({oid: one for oid, one in extensions.items() if oid != _NONCE})
    if _NONCE not in extensions:
        return None
    _, value = extensions[_NONCE]
    try:
        nonce = ber.octets(ber.parse(value))
    except reader.NotDER:
        nonce = RawNonce(value)
    if not 0 < len(nonce) <= MAX_NONCE:  # RFC 9654 2.1: such a request must be rejected
        raise MalformedRequest(f"the nonce has not 1 to {MAX_NONCE} octets")
    return nonce


def _refuse_critical(extensions: dict[str, tuple[bool, bytes]]) -> None:
    """Refuse a critical extension whose meaning is not known here; others ask for nothing that must be.

    AcceptableResponses names the basic response, which is the only kind there is; preferred
    algorithms are a preference (RFC 6960 4.4.3, 4.4.7).
    """
    if any(critical for oid, (critical, _) in extensions.items() if oid not in _HARMLESS):
        raise MalformedRequest("it has a critical extension that is not known here")


def issuer_hashes(issuer: x509.Certificate) -> list[tuple[str, bytes, bytes]]:
    """Return what CertIDs of this issuer's certificates have, for each hash that a request may use
    (RFC 6960 4.1.1).
    """
    name = issuer.subject.public_bytes()
    info = reader.parse(issuer.tbs_certificate_bytes)
    # SubjectPublicKeyInfo is the one before the extensions; its BIT STRING without the count of unused bits is what is hashed.
    spki = next(node for node in reversed(info.children) if node.tag == reader.SEQUENCE)
    key = reader.bits(spki.child(1))
    return [(name_of, hashlib.new(name_of, name).digest(), hashlib.new(name_of, key).digest()) for name_of in _HASHES.values()]


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a certificate: `good`, `revoked` (with its time and reason) or `unknown`."""

    word: str
    revoked_at: datetime | None = None
    reason: str = ""


GOOD, UNKNOWN = Status("good"), Status("unknown")


@dataclass(frozen=True, slots=True)
class Answer:
    """One SingleResponse to be; without `this_update` it is as old as the response."""

    certificate: CertID
    status: Status
    this_update: datetime | None = None


def response_data(
    answers: Sequence[Answer], *, key_hash: bytes, produced_at: datetime, next_update: datetime, nonce: bytes | None = None
) -> bytes:
    """Return ResponseData (RFC 6960 4.2.1), to be signed. `key_hash` is the SHA-1 of the responder's public key."""
    now, then = generalized_time(produced_at), tlv(0xA0, generalized_time(next_update))
    singles = [
        tlv(
            0x30,
            one.certificate.raw,
            _status(one.status),
            generalized_time(one.this_update) if one.this_update else now,
            then,
        )
        for one in answers
    ]
    extensions = b""
    if nonce is not None:
        value = nonce if isinstance(nonce, RawNonce) else tlv(0x04, nonce)
        extensions = tlv(0xA1, tlv(0x30, extension(_OID_NONCE, bytes(value))))
    return tlv(0x30, tlv(0xA2, tlv(0x04, key_hash)), now, tlv(0x30, *singles), extensions)


def _status(status: Status) -> bytes:
    """Return CertStatus; the reason is left out for `unspecified`, as in CRLs (RFC 9919 3.2.4)."""
    if status.word == "good":
        return b"\x80\x00"
    if status.word == "unknown":
        return b"\x82\x00"
    if status.revoked_at is None:
        raise ValueError("revoked, but not since when")
    code = REASON_CODES[status.reason] if status.reason and status.reason != RevocationReason.UNSPECIFIED else 0
    return tlv(0xA1, generalized_time(status.revoked_at), tlv(0xA0, bytes([0x0A, 0x01, code])) if code else b"")


def successful(data: bytes, signature: bytes, *, algorithm: bytes, certificate_der: bytes) -> bytes:
    """Return an OCSPResponse around a signed BasicOCSPResponse, with the responder's certificate."""
    basic = tlv(0x30, data, algorithm, bit_string(signature), tlv(0xA0, tlv(0x30, certificate_der)))
    return tlv(0x30, b"\x0a\x01\x00", tlv(0xA0, tlv(0x30, _OID_BASIC, tlv(0x04, basic))))


class Unsuccessful:
    """The unsigned responses (RFC 6960 2.3)."""

    MALFORMED_REQUEST = bytes.fromhex("30030a0101")
    INTERNAL_ERROR = bytes.fromhex("30030a0102")
    TRY_LATER = bytes.fromhex("30030a0103")
    UNAUTHORIZED = bytes.fromhex("30030a0106")
