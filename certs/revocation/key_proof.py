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
    """Verify the signature over a challenge. Raises InputRefused with the reason.

    `signature`: base64; RSA (PKCS #1 v1.5) or ECDSA with SHA-256, or Ed25519.
    """
    again = "Ask for a new challenge and sign exactly that."
    # 1. The challenge is the portal's, and recent. Its prefix is required: it separates what is signed
    #    here from a text that the key's owner signs for another purpose.
    #    No challenge is kept in the database: its own signature proves its origin and its age. It may be used twice,
    #    for blocking a key that is blocked changes nothing.
    stale = InputRefused("The challenge is older than an hour, or not the portal's.", field="challenge", next_step=again)
    if not challenge.startswith(PREFIX):
        raise stale
    try:
        content: dict[str, str] = signing.loads(challenge.removeprefix(PREFIX), salt=SALT, max_age=MAX_AGE)
    except signing.BadSignature as exc:
        raise stale from exc
    # 2. It was made for this key: a signature over another one proves nothing.
    if content["spki"] != certificate.spki_sha256:
        raise InputRefused("The challenge was made for another key.", field="challenge", next_step=again)
    # 3. The signature is by the certificate's key.
    try:
        _verify(certificate, base64.b64decode("".join(signature.split()), validate=True), challenge.encode())
    except (binascii.Error, ValueError, InvalidSignature) as exc:
        raise InputRefused("The signature is not one by this certificate's key.", field="signature", next_step=HOW) from exc


def _verify(certificate: Certificate, signature: bytes, message: bytes) -> None:
    """Raise InvalidSignature, or ValueError for a key of another kind.

    One scheme for each kind of key. The requester cannot choose a weaker hash.
    """
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
