"""Encryption of the secrets of second factors: seeds of authenticator apps and of recovery codes.

The key is derived from SECRET_KEY (HKDF, RFC 5869), so signing in needs the database and nothing
else: no Vault and no HSM. A copy of the database alone gives no seed away. After a change of
SECRET_KEY the old one belongs into SECRET_KEY_FALLBACKS, until each person has a new second factor.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

_PREFIX = "aes256gcm:"
_PURPOSE = b"pki portal: secrets of second factors, 1"
_NONCE_BYTES = 12


class SecretUnreadable(Exception):
    """A stored secret was encrypted under another SECRET_KEY, or is not what the portal wrote."""


def seal(text: str) -> str:
    """Return the text encrypted with AES-256-GCM (NIST SP 800-38D), under a random nonce."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_key(settings.SECRET_KEY)).encrypt(nonce, text.encode(), _PURPOSE)
    return _PREFIX + base64.b64encode(nonce + sealed).decode("ascii")


def unseal(sealed: str) -> str:
    """Return the text of `seal`. Raises SecretUnreadable where no SECRET_KEY of the settings fits."""
    try:
        octets = base64.b64decode(sealed.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not sealed.startswith(_PREFIX) or len(octets) <= _NONCE_BYTES:
        raise SecretUnreadable("A secret of a second factor is not stored in encrypted form.")
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            plain = AESGCM(_key(secret)).decrypt(octets[:_NONCE_BYTES], octets[_NONCE_BYTES:], _PURPOSE)
        except InvalidTag:
            continue
        return plain.decode()
    raise SecretUnreadable(
        "A secret of a second factor was encrypted under another SECRET_KEY. "
        "Put the old SECRET_KEY into SECRET_KEY_FALLBACKS, or reset the second factor."
    )


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
