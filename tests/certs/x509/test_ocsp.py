"""OCSP requests are read strictly; responses are, octet for octet, what pyca's builder writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from certs.enums import RevocationReason
from certs.x509.asn1 import reader
from certs.x509.asn1.writer import integer, signature_algorithm, tlv
from certs.x509.crl import REASON_CODES
from certs.x509.ocsp import (
    GOOD,
    MAX_CERTIFICATES,
    MAX_REQUEST,
    UNKNOWN,
    Answer,
    CertID,
    MalformedRequest,
    Status,
    issuer_hashes,
    parse_request,
    response_data,
    successful,
)
from keys.signing import sign_message
from tests.certs.x509.certificate.chains import NOW, issuer_of, leaf

ISSUER = issuer_of("p-256")
LEAF = x509.load_der_x509_certificate(leaf(ISSUER))
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - what most clients still ask with
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def asked(algorithm: str = "sha1", *, nonce: bytes | None = None) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(LEAF, ISSUER.certificate, HASHES[algorithm])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.mark.parametrize("algorithm", HASHES)
def test_certificate_is_named_by_any_usual_hash(algorithm: str) -> None:
    (certificate,) = parse_request(asked(algorithm)).certificates
    assert certificate.serial == f"{LEAF.serial_number:x}"
    assert certificate.issuer in issuer_hashes(ISSUER.certificate)
    assert certificate.issuer[0] == algorithm


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_nonce_is_read(length: int) -> None:
    assert parse_request(asked(nonce=b"n" * length)).nonce == b"n" * length


def test_request_without_nonce_has_none() -> None:
    assert parse_request(asked()).nonce is None


def several(count: int) -> bytes:
    raw = reader.parse(asked()).children[0].children[0].children[0].raw
    return tlv(0x30, tlv(0x30, tlv(0x30, *([raw] * count))))


def test_several_certificates_are_read_in_order() -> None:
    assert len(parse_request(several(MAX_CERTIFICATES)).certificates) == MAX_CERTIFICATES


def _nonce(octets: bytes, *, critical: bytes = b"") -> bytes:
    oid = bytes.fromhex("06092b0601050507300102")
    return tlv(0xA2, tlv(0x30, tlv(0x30, oid, critical, tlv(0x04, tlv(0x04, octets)))))


_LIST = tlv(0x30, reader.parse(asked()).children[0].children[0].children[0].raw)
_FOREIGN = tlv(0xA2, tlv(0x30, tlv(0x30, bytes.fromhex("06022a03"), b"\x01\x01\xff", tlv(0x04, b"\x05\x00"))))
_NEGATIVE = bytes.fromhex("0201ff")


def _with_serial(serial: bytes) -> bytes:
    node = reader.parse(asked()).children[0].children[0].children[0].children[0]
    return tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, *(child.raw for child in node.children[:3]), serial)))))


def _with_parameters(parameters: bytes) -> bytes:
    node = reader.parse(asked()).children[0].children[0].children[0].children[0]
    algorithm = tlv(0x30, node.children[0].children[0].raw, parameters)
    return tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, algorithm, *(child.raw for child in node.children[1:]))))))


def test_hash_algorithm_may_have_a_null_or_nothing() -> None:
    for parameters in (b"", b"\x05\x00"):
        assert parse_request(_with_parameters(parameters)).certificates[0].issuer[0] == "sha1"


_TWO_NONCES = [_nonce(octets)[4:] for octets in (b"1" * 16, b"2" * 16)]


def _indefinite(tag: int, *parts: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(parts) + b"\x00\x00"


def _long(encoded: bytes) -> bytes:
    """The same element with its length in four octets."""
    return encoded[:1] + b"\x84" + (len(encoded) - 2).to_bytes(4, "big") + encoded[2:]


_BARE = reader.parse(asked()).children[0].children[0].children[0].children[0]  # CertID
_RAW_NONCE = tlv(0xA2, tlv(0x30, tlv(0x30, bytes.fromhex("06092b0601050507300102"), tlv(0x04, b"n" * 20))))
_FALSE = tlv(0xA2, tlv(0x30, tlv(0x30, bytes.fromhex("06022a03"), b"\x01\x01\x00", tlv(0x04, b""))))
_KNOWN = tlv(0xA2, tlv(0x30, tlv(0x30, bytes.fromhex("06092b0601050507300104"), b"\x01\x01\xff", tlv(0x04, b""))))

UNUSUAL: dict[str, bytes] = {
    "version written out": tlv(0x30, tlv(0x30, tlv(0xA0, integer(0)), _LIST)),
    "raw nonce": tlv(0x30, tlv(0x30, _LIST, _RAW_NONCE)),
    "empty list of extensions": tlv(0x30, tlv(0x30, _LIST, tlv(0xA2, tlv(0x30)))),
    "extensions without a list": tlv(0x30, tlv(0x30, _LIST, tlv(0xA2))),
    "empty list of extensions of a certificate": tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, _BARE.raw, tlv(0xA0, tlv(0x30)))))),
    "critical FALSE written out": tlv(0x30, tlv(0x30, _LIST, _FALSE)),
    "critical extension that is known": tlv(0x30, tlv(0x30, _LIST, _KNOWN)),
    "the same nonce twice": tlv(0x30, tlv(0x30, _LIST, tlv(0xA2, tlv(0x30, *(_TWO_NONCES[:1] * 2))))),
    "line feed behind": asked() + b"\n",
    "CR LF and spaces behind": asked() + b"\r\n  \n",
    "long lengths": _long(tlv(0x30, _long(tlv(0x30, _LIST)))),
    "indefinite lengths": _indefinite(0x30, _indefinite(0x30, _indefinite(0x30, tlv(0x30, _BARE.raw)))),
    "CertID in BER": tlv(
        0x30,
        tlv(
            0x30,
            tlv(
                0x30,
                tlv(0x30, _indefinite(0x30, *(_long(child.raw) for child in _BARE.children[:3]), _BARE.children[3].raw)),
            ),
        ),
    ),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_question_that_can_be_understood_is_read_and_echoed_in_der(what: str) -> None:
    """O1: a client that is refused fails softly and accepts a revoked certificate."""
    (certificate,) = parse_request(UNUSUAL[what]).certificates
    assert (certificate.raw, certificate.serial) == (_BARE.raw, f"{LEAF.serial_number:x}")


def test_raw_nonce_goes_back_as_it_came() -> None:
    """O1: its client compares octets."""
    request = parse_request(UNUSUAL["raw nonce"])
    data = response_data(
        [Answer(request.certificates[0], GOOD)],
        key_hash=b"k" * 20,
        produced_at=NOW,
        next_update=NOW,
        nonce=request.nonce,
    )
    (extensions,) = [node for node in reader.parse(data).children if node.tag == 0xA1]
    assert extensions.child(0).child(0).child(1).content == b"n" * 20


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "a word": b"garbage",
    "too long": b"\x30\x82\xff\xff" + b"x" * MAX_REQUEST,
    "cut short": asked()[:-1],
    "one octet more": asked() + b"\x00",
    "indefinite length without content": b"\x30\x80\x00\x00",
    "indefinite length without an end": b"\x30\x80" + asked()[2:],
    "one extension with two values": tlv(0x30, tlv(0x30, _LIST, tlv(0xA2, tlv(0x30, *_TWO_NONCES)))),
    "no certificate": tlv(0x30, tlv(0x30, tlv(0x30))),
    "too many certificates": several(MAX_CERTIFICATES + 1),
    "version 2": tlv(0x30, tlv(0x30, tlv(0xA0, integer(1)), _LIST)),
    "empty nonce": tlv(0x30, tlv(0x30, _LIST, _nonce(b""))),
    "nonce of 129 octets": tlv(0x30, tlv(0x30, _LIST, _nonce(b"n" * 129))),
    "critical extension": tlv(0x30, tlv(0x30, _LIST, _FOREIGN)),
    "negative serial": _with_serial(_NEGATIVE),
    "serial zero": _with_serial(integer(0)),
    "serial of 22 octets": _with_serial(integer(1 << 172)),
    "serial that is text": _with_serial(tlv(0x0C, b"1")),
    "algorithm with parameters": _with_parameters(tlv(0x04, b"")),
    "algorithm with two parameters": _with_parameters(b"\x05\x00\x05\x00"),
    "something behind": tlv(0x30, tlv(0x30, _LIST), tlv(0x04, b"x")),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_is_malformed(what: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_request(GARBAGE[what])


@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda tail: asked()[:60] + tail))
def test_garbage_is_malformed_or_read_and_nothing_else(data: bytes) -> None:
    try:
        request = parse_request(data)
    except MalformedRequest:
        return
    assert 0 < len(request.certificates) <= MAX_CERTIFICATES


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_request_with_one_octet_changed_is_malformed_or_read(place: int, octet: int) -> None:
    data = bytearray(asked("sha256", nonce=b"n" * 32))
    data[place % len(data)] = octet
    try:
        parse_request(bytes(data))
    except MalformedRequest:
        return


def by_pyca(status: Status, *, nonce: bytes | None) -> Any:
    words = {"good": ocsp.OCSPCertStatus.GOOD, "revoked": ocsp.OCSPCertStatus.REVOKED, "unknown": ocsp.OCSPCertStatus.UNKNOWN}
    reason = x509.ReasonFlags(status.reason) if status.reason and status.reason != "unspecified" else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        LEAF,
        ISSUER.certificate,
        HASHES["sha1"],
        words[status.word],
        NOW,
        NOW + timedelta(hours=8),
        status.revoked_at,
        reason,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ISSUER.certificate).certificates([ISSUER.certificate])
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.sign(ISSUER.key, hashes.SHA256())


STATUSES = [GOOD, UNKNOWN, *(Status("revoked", NOW - timedelta(days=2), reason) for reason in sorted(REASON_CODES))]


@pytest.mark.parametrize("status", STATUSES, ids=lambda status: f"{status.word} {status.reason}")
@pytest.mark.parametrize("nonce", [None, b"n" * 32], ids=["", "nonce"])
def test_response_is_what_the_library_writes(status: Status, nonce: bytes | None) -> None:
    request = parse_request(asked(nonce=nonce))
    key_hash = issuer_hashes(ISSUER.certificate)[0][2]
    answers = [Answer(request.certificates[0], status)]
    theirs = by_pyca(status, nonce=nonce)
    data = response_data(
        answers, key_hash=key_hash, produced_at=theirs.produced_at_utc, next_update=NOW + timedelta(hours=8), nonce=request.nonce
    )
    # The library takes thisUpdate from its caller and producedAt from the clock; here they are one moment.
    ours = data.replace(_single_times(theirs.produced_at_utc), _single_times(NOW))
    assert ours == theirs.tbs_response_bytes


def _single_times(this_update: datetime) -> bytes:
    return f"{this_update:%Y%m%d%H%M%SZ}".encode() + bytes.fromhex("a011180f")


def test_whole_response_is_read_and_verified() -> None:
    request = parse_request(several(3))
    statuses = [GOOD, Status("revoked", NOW, RevocationReason.SUPERSEDED), UNKNOWN]
    answers = [Answer(one, status) for one, status in zip(request.certificates, statuses, strict=True)]
    key_hash, public_key = issuer_hashes(ISSUER.certificate)[0][2], ISSUER.key.public_key()
    data = response_data(answers, key_hash=key_hash, produced_at=NOW, next_update=NOW + timedelta(hours=8))
    whole = successful(data, sign_message(ISSUER.key, data), algorithm=signature_algorithm(public_key), certificate_der=ISSUER.der)
    reply = ocsp.load_der_ocsp_response(whole)
    assert [single.certificate_status.name.lower() for single in reply.responses] == ["good", "revoked", "unknown"]
    assert reply.responder_key_hash == key_hash
    assert reply.produced_at_utc == NOW.astimezone(UTC)


def test_revoked_without_a_time_is_refused() -> None:
    certificate = CertID(b"", ("sha1", b"", b""), "1")
    with pytest.raises(ValueError, match="since when"):
        response_data([Answer(certificate, Status("revoked"))], key_hash=b"", produced_at=NOW, next_update=NOW)
