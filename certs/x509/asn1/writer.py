"""The few things that are written in DER by hand, because a library's builder would be too slow or use too much memory. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

# RSA has NULL as its parameters (RFC 4055 5); the others must have none (RFC 5758 3.2, RFC 8410 3, RFC 9881 2).
_ECDSA_BY_CURVE = {256: "300a06082a8648ce3d040302", 384: "300a06082a8648ce3d040303", 521: "300a06082a8648ce3d040304"}
_RSA_SHA256 = "300d06092a864886f70d01010b0500"
_BY_KIND: tuple[tuple[type, str], ...] = (
    (ed25519.Ed25519PublicKey, "300506032b6570"),
    (mldsa.MLDSA44PublicKey, "300b0609608648016503040311"),
    (mldsa.MLDSA65PublicKey, "300b0609608648016503040312"),
    (mldsa.MLDSA87PublicKey, "300b0609608648016503040313"),
)


def der_length(length: int) -> bytes:
    """Return definite length octets (X.690 8.1.3)."""
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return one element: identifier octet, length, and the parts as its content."""
    body = b"".join(parts)
    length = len(body)
    return bytes((tag, length)) + body if length < 0x80 else bytes([tag]) + der_length(length) + body


def integer(value: int) -> bytes:
    """Return an INTEGER of a value that is not negative."""
    # An octet more than the bits need where the first bit is set: that bit is the sign (X.690 8.3).
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bit_string(octets: bytes) -> bytes:
    return tlv(0x03, b"\x00" + octets)


def generalized_time(moment: datetime) -> bytes:
    """Return a GeneralizedTime to the second, in UTC (RFC 5280 4.1.2.5.2)."""
    return tlv(0x18, moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


@lru_cache(maxsize=64)
def time(moment: datetime) -> bytes:
    """Return a Time: UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 4.1.2.5)."""
    moment = moment.astimezone(UTC)
    return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode()) if moment.year < 2050 else generalized_time(moment)


def extension(oid: bytes, value: bytes, *, critical: bool = False) -> bytes:
    """Return an Extension (RFC 5280 4.1). `oid` is the whole element, `value` the DER of the extension's own type."""
    return tlv(0x30, oid, b"\x01\x01\xff" if critical else b"", tlv(0x04, value))


def signature_algorithm(public_key: Any) -> bytes:
    """Return the AlgorithmIdentifier under which `keys.signing` signs with that key (RFC 5758, RFC 4055, RFC 8410, RFC 9881)."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return bytes.fromhex(_ECDSA_BY_CURVE[public_key.curve.key_size])
    if isinstance(public_key, rsa.RSAPublicKey):
        return bytes.fromhex(_RSA_SHA256)
    for kind, algorithm in _BY_KIND:
        if isinstance(public_key, kind):
            return bytes.fromhex(algorithm)
    raise TypeError(f"an issuer's key cannot be {type(public_key).__name__}")
