"""The key-encryption key of the `local` backend: 32 bytes outside the database, without which every key of it is lost."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import secrets
from pathlib import Path

from audit.files import write_once
from keys.errors import KeyBackendUnavailable

log = logging.getLogger(__name__)


class KeyEncryptionKey:
    """In a file, or as `text` from the environment. Read once a process; never made by reading."""

    def __init__(self, alias: str, *, file: Path, text: str = "") -> None:
        self._alias, self._file, self._text = alias, file, text
        self._bytes: bytes | None = None
        self._id = ""

    def read(self) -> bytes:
        """Raises KeyBackendUnavailable when it is not there or not one."""
        if self._bytes is None:
            self._bytes = self._decoded(self._text or self._content())
            self._id = hashlib.sha256(b"kek" + self._bytes).hexdigest()[:12]
        return self._bytes

    @property
    def id(self) -> str:
        """A fingerprint of the key, by which rows name the key that they were encrypted under."""
        self.read()
        return self._id

    def forget(self) -> None:
        """Read it again next time: somebody may put the right file back."""
        self._bytes = None

    def make(self, *, key_exists: bool) -> bool:
        """Make the file of a new installation. Returns whether it did. Raises KeyBackendUnavailable when it cannot be written.

        `key_exists`: keys are in the database already, so a missing one is lost or offline (the root's), not new.
        """
        if self._text or key_exists or self._file.exists():
            return False
        try:
            write_once(self._file, base64.b64encode(secrets.token_bytes(32)))
        except OSError as exc:
            raise KeyBackendUnavailable(
                f"The key-encryption key {self._file} cannot be written ({exc.strerror}).",
                next_step="Make its folder, writable for this process.",
            ) from exc
        log.warning("made a key-encryption key in %s; back it up: without it every key of this backend is lost", self._file)
        return True

    def _content(self) -> str:
        try:
            return self._file.read_text(encoding="ascii").strip()
        except FileNotFoundError as exc:
            raise KeyBackendUnavailable(
                f"The key-encryption key {self._file} is missing.",
                next_step="Restore it from its backup or bring the offline copy back; a new installation gets one from `bootstrap`.",
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise KeyBackendUnavailable(
                f"The key-encryption key {self._file} cannot be read ({getattr(exc, 'strerror', None) or 'not base64'}).",
                next_step="Make it readable for this process, or restore it from its backup.",
            ) from exc

    def _decoded(self, text: str) -> bytes:
        try:
            kek = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            kek = b""
        if len(kek) != 32:
            raise KeyBackendUnavailable(
                f"The key-encryption key of the {self._alias} backend is not 32 bytes in base64.",
                next_step="Restore the file from its backup.",
            )
        return kek
