"""Who signs checkpoints: the sealing key. By default a file of mode 0600 under PKI_HOME that only the sealer needs to read.

`settings.AUDIT_SIGNER` names another class by dotted path. It is made without arguments and offers `name`, `sign(statement)` and
`verifier()`, the interface of `Signer`.
"""

from __future__ import annotations

import logging
import secrets
import stat
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from audit.files import write_once
from audit.transparency.checkpoint import NoteRefused, Statement, Verifier, sign_note

log = logging.getLogger(__name__)


class SealingKeyUnusable(RuntimeError):
    """The sealing key is absent or cannot be read. Events are still recorded; they are sealed once it is back."""


class Signer(Protocol):
    """Signs checkpoints for the log `name`."""

    @property
    def name(self) -> str: ...

    def sign(self, statement: Statement) -> str: ...

    def verifier(self) -> Verifier: ...


def get_signer() -> Signer:
    """Return the signer that the settings name."""
    return cast("Signer", import_string(getattr(settings, "AUDIT_SIGNER", "audit.transparency.signing_key.FileSigner"))())


def get_verifier() -> Verifier:
    """Return the public half of the sealing key. Raises `SealingKeyUnusable`."""
    return get_signer().verifier()


def audit_home() -> Path:
    """Return where the sealing key and the checkpoint file are kept: AUDIT_HOME, or else PKI_HOME."""
    home = getattr(settings, "AUDIT_HOME", None) or getattr(settings, "PKI_HOME", None)
    if not home:
        raise ImproperlyConfigured("Set AUDIT_HOME to a folder of the sealer's own: audit.key and checkpoints.log are kept there.")
    return Path(home)


class FileSigner:
    """An Ed25519 key in `audit.key` (PKCS#8 PEM); the public half, with the log's name, in `audit.pub` beside it."""

    def __init__(self) -> None:
        self.key_file = audit_home() / "audit.key"
        self.public_file = audit_home() / "audit.pub"

    @property
    def name(self) -> str:
        return self.verifier().name

    def verifier(self) -> Verifier:
        try:
            return Verifier.parse(self.public_file.read_text(encoding="utf-8"))
        except FileNotFoundError as exc:
            raise SealingKeyUnusable("There is no audit.pub yet. Run `manage.py bootstrap`, which makes the sealing key.") from exc
        except (OSError, UnicodeDecodeError, NoteRefused) as exc:
            raise SealingKeyUnusable("audit.pub cannot be read. Put it back from a backup; it is not a secret.") from exc

    def sign(self, statement: Statement) -> str:
        """Return the signed checkpoint; opened again with audit.pub, so that a key of another installation is noticed at once."""
        note = sign_note(statement, self.private_key())
        try:
            self.verifier().open(note)
        except NoteRefused as exc:
            raise SealingKeyUnusable("audit.key and audit.pub do not belong together. Put back the pair from a backup.") from exc
        return note

    def private_key(self) -> Ed25519PrivateKey:
        """Raises SealingKeyUnusable."""
        try:
            key = load_pem_private_key(self.key_file.read_bytes(), password=None)
        except FileNotFoundError as exc:
            raise SealingKeyUnusable(
                "The sealing key audit.key is not there. On a new installation run `manage.py bootstrap`; "
                "else put it back from a backup. In the meantime events are recorded, and they are sealed afterwards."
            ) from exc
        except (OSError, ValueError, TypeError):
            # Not chained: a parser's message may quote what it read.
            raise SealingKeyUnusable("The sealing key audit.key cannot be read. Put it back from a backup.") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SealingKeyUnusable("The sealing key audit.key is not an Ed25519 key. Put it back from a backup.")
        return key


def ensure_sealing_key() -> bool:
    """Make the file signer's key if there is none. Returns whether one was made. For `bootstrap` only; other signers make their own keys.

    The key's file is never overwritten, so of two starts at once one wins. A lost audit.pub is written anew.
    """
    signer = get_signer()
    if not isinstance(signer, FileSigner):
        return False
    made = False
    if not signer.key_file.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        made = write_once(signer.key_file, pem)
    if not signer.public_file.exists():
        public_key = signer.private_key().public_key()
        _write_public(signer, Verifier(_log_name(), public_key, epoch=1))
    return made


def announce_epoch(epoch: int) -> None:
    """Write audit.pub under the origin of the newest epoch. Copies of an older one open its notes too.

    Where the sealer may not write the file, it stays: every portal of this release opens the notes
    of all epochs with it. Only a third-party verifier needs the key under the new name.
    """
    signer = get_signer()
    if not isinstance(signer, FileSigner) or signer.verifier().epoch == epoch:
        return
    try:
        _write_public(signer, replace(signer.verifier(), epoch=epoch))
    except PermissionError:
        log.info("audit.pub still names an earlier epoch; it cannot be written by the sealer")


def _write_public(signer: FileSigner, verifier: Verifier) -> None:
    """Replace the file whole, so that no reader sees half of it."""
    # A name of its own: another process may write the same at this moment.
    new = signer.public_file.with_suffix(f".pub.{secrets.token_hex(4)}")
    new.touch(mode=0o600)
    new.write_text(f"{verifier}\n", encoding="utf-8")
    if signer.public_file.exists():  # the same readers as before
        new.chmod(stat.S_IMODE(signer.public_file.stat().st_mode))
    new.replace(signer.public_file)


def _log_name() -> str:
    """Return AUDIT_LOG_NAME, or the portal's host. Kept in audit.pub, so a later change of address does not fork the log."""
    return getattr(settings, "AUDIT_LOG_NAME", "") or f"{urlsplit(settings.PKI_BASE_URL).netloc}/audit"
