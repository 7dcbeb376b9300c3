"""Cosignatures of witnesses on checkpoints: C2SP tlog-cosignature, the Ed25519 type. Pure but for pyca.

A witness signs that the tree of a checkpoint continues every tree of the log that it has seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.transparency.checkpoint import MARK, NoteRefused, signature_lines

COSIGNATURE = b"\x04"
_KEY_BYTES = 32
_TIME_BYTES = 8
_LATEST = 253_402_300_799  # the end of the year 9999, above which Python has no time


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The name and the public key of a witness."""

    name: str
    raw: bytes

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read a verifier key of type 0x04: `<name>+<key id>+<base64>`. Raises NoteRefused."""
        parts = text.split("+", 2)
        if len(parts) != 3 or not parts[0]:
            raise NoteRefused("The verifier key of a witness reads <name>+<key id>+<base64>.")
        try:
            typed = base64.b64decode(parts[2], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise NoteRefused(f"The verifier key of {parts[0]} is not base64.") from exc
        key = cls(parts[0], typed[1:])
        if typed[:1] != COSIGNATURE or len(key.raw) != _KEY_BYTES:
            raise NoteRefused(f"The verifier key of {parts[0]} is not that of an Ed25519 witness (type 0x04).")
        if key.key_id.hex() != parts[1]:
            raise NoteRefused(f"The verifier key of {parts[0]} does not match its own key id; it was cut or altered.")
        return key

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name || newline || 0x04 || key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + COSIGNATURE + self.raw).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(COSIGNATURE + self.raw).decode()}"

    def cosigned_at(self, note: str, line: str) -> datetime:
        """Return when this witness cosigned the note, according to a line of its. Raises NoteRefused."""
        found = signature_lines(line)
        if len(found) != 1:
            raise NoteRefused("A cosignature is one line.")
        name, blob = found[0]
        if name != self.name or blob[:4] != self.key_id:
            raise NoteRefused(f"The line is not signed by the key of {self.name}.")
        stamp, signature = blob[4 : 4 + _TIME_BYTES], blob[4 + _TIME_BYTES :]
        seconds = int.from_bytes(stamp, "big")
        if not 0 < seconds <= _LATEST:
            raise NoteRefused(f"The cosignature of {self.name} has no time.")
        body = note.rpartition("\n\n")[0] + "\n"
        message = f"cosignature/v1\ntime {seconds}\n{body}".encode()
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature as exc:
            raise NoteRefused(f"The cosignature of {self.name} does not hold.") from exc
        return datetime.fromtimestamp(seconds, UTC)

    def find(self, note: str, reply: str) -> tuple[str, datetime] | None:
        """Return the line of this witness among the lines of a reply, and its time; None where there is none.

        Lines of unknown keys are passed over (C2SP signed-note). Raises NoteRefused for what is no signature
        line, and for a line of this key that does not hold.
        """
        for name, blob in signature_lines(reply):
            if name == self.name and blob[:4] == self.key_id:
                line = f"{MARK}{name} {base64.b64encode(blob).decode()}\n"
                return line, self.cosigned_at(note, line)
        return None
