"""Which scheme certificates use with which key, and signing with it. Pure: the key may be here or in a backend."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

_CURVE_HASHES: dict[int, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}

_ECDSA: dict[type, ec.ECDSA] = {type(made): ec.ECDSA(made) for made in _CURVE_HASHES.values()}


def ecdsa_with(algorithm: hashes.HashAlgorithm) -> ec.ECDSA:
    """Return ECDSA with that hash. Those in use are made once, which saves pyca's checks in each signature."""
    return _ECDSA.get(type(algorithm)) or ec.ECDSA(algorithm)


def signing_hash(public_key: Any) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """Return SHA-256 for RSA and P-256, the curve's size above (RFC 5758); None where the scheme has its own (RFC 8410, RFC 9881)."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _CURVE_HASHES[public_key.curve.key_size]
    return hashes.SHA256() if isinstance(public_key, rsa.RSAPublicKey) else None


def sign_message(private_key: Any, message: bytes) -> bytes:
    """Return a signature over the whole message (never a digest): PKCS#1 v1.5 for RSA, DER (r, s) for ECDSA."""
    algorithm = signing_hash(private_key.public_key())
    if algorithm is None:
        return bytes(private_key.sign(message))
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(message, padding.PKCS1v15(), algorithm)
    return bytes(private_key.sign(message, ecdsa_with(algorithm)))


def sign_digest(private_key: Any, digest: bytes) -> bytes:
    """Return a signature over a message whose digest under `signing_hash` is given: for messages too large to hand over whole.

    Raises TypeError for keys whose scheme takes the message itself (Ed25519, ML-DSA).
    """
    algorithm = signing_hash(private_key.public_key())
    if algorithm is None:
        raise TypeError("this kind of key signs whole messages only")
    if isinstance(private_key, rsa.RSAPrivateKey):
        return private_key.sign(digest, padding.PKCS1v15(), Prehashed(algorithm))
    return bytes(private_key.sign(digest, ec.ECDSA(Prehashed(algorithm))))
