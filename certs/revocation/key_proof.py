"""Proof that somebody has a private key: a signature over a challenge that this portal made within the last hour.

With it an owner can have an own key blocked permanently, without waiting for an officer.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from django.core import signing

from certs.errors import InputRefused
from certs.models import Certificate

SALT, MAX_AGE = "certs.key-proof", 3600  # seconds
PREFIX = "pki-portal-key-compromise:"
HOW = (
    "openssl dgst -sha256 -sign KEY.pem CHALLENGE.txt | base64 -w0 "
    "(for Ed25519: openssl pkeyutl -sign -rawin -inkey KEY.pem -in CHALLENGE.txt | base64 -w0)"
)


def challenge_for(certificate: Certificate) -> str:
    """Return the text to sign: ASCII, without a line end. It names the key, so it proves nothing about another one."""
    content = {"spki": certificate.spki_sha256, "nonce": secrets.token_hex(16)}
    return PREFIX + signing.dumps(content, salt=SALT)


def check_proof(certificate: Certificate, *, challenge: str, signature: str) -> None:
    """Verify the signature: base64; RSA (PKCS #1 v1.5) or ECDSA with SHA-256, or Ed25519. Raises InputRefused with the reason."""
    again = "Ask for a new challenge and sign exactly that."
    try:
        content = _content(challenge)
    except signing.BadSignature as exc:
        raise InputRefused("The challenge is older than an hour, or not the portal's.", field="challenge", next_step=again) from exc
    if content["spki"] != certificate.spki_sha256:
        raise InputRefused("The challenge was made for another key.", field="challenge", next_step=again)
    try:
        _verify(certificate, base64.b64decode("".join(signature.split()), validate=True), challenge.encode())
    except (binascii.Error, ValueError, InvalidSignature) as exc:
        raise InputRefused("The signature is not one by this certificate's key.", field="signature", next_step=HOW) from exc


def _content(challenge: str) -> dict[str, str]:
    """Return the content of a challenge. Raises BadSignature. The prefix is required: it separates what is signed here from a text that
    its owner signs for another purpose.
    """
    prefix, signed = challenge[: len(PREFIX)], challenge[len(PREFIX) :]
    if prefix != PREFIX:
        raise signing.BadSignature("the prefix is missing")
    content: dict[str, str] = signing.loads(signed, salt=SALT, max_age=MAX_AGE)
    return content


def _verify(certificate: Certificate, signature: bytes, message: bytes) -> None:
    key = x509.load_der_x509_certificate(bytes(certificate.body.der)).public_key()
    match key:
        case rsa.RSAPublicKey():
            key.verify(signature, message, padding.PKCS1v15(), SHA256())
        case ec.EllipticCurvePublicKey():
            key.verify(signature, message, ec.ECDSA(SHA256()))
        case ed25519.Ed25519PublicKey():
            key.verify(signature, message)
        case _:
            raise ValueError("no signature scheme for this kind of key")
