"""Checkpoints as text: C2SP tlog-checkpoint in a C2SP signed note, Ed25519. Pure but for pyca.

<log name>/epoch-<n>            origin
<tree size>
<base64 root hash>
                                an empty line
— <origin> <base64(key hash || signature over all lines above it)>

The key's name is the origin (C2SP tlog-policy), so each epoch has a verifier key of its own over the
same Ed25519 key. Releases before that rule signed under the log's name without the epoch; such a
note still opens, and the sealer begins a new epoch after it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
_KEY_HASH_BYTES = 4
MARK = "— "
_ORIGIN = re.compile(r"(\S+)/epoch-([1-9]\d{0,8})")
_NAME = re.compile(r"[^\s+]{1,200}")


class NoteRefused(ValueError):
    """A note, or a verifier key, does not have the format, or its signature is wrong."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement of a checkpoint: the tree of `epoch` had `size` leaves and this root."""

    log: str
    epoch: int
    size: int
    root: bytes

    @property
    def origin(self) -> str:
        return f"{self.log}/epoch-{self.epoch}"

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """The public half of a sealing key, under the name of its log. It opens the notes of every epoch.

    `epoch` is the one whose origin names the key when it is written as text; 0 for a key that an
    earlier release wrote under the log's name alone.
    """

    name: str
    public_key: Ed25519PublicKey
    epoch: int = 0

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read `<name>+<key hash, 8 hex digits>+<base64(0x01 || key)>`, the content of audit.pub."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
            raise NoteRefused("A verifier key reads <name>+<key hash>+<base64 key>, as in audit.pub.")
        key = _base64(parts[2])
        if key[:1] != _ED25519 or key_hash(parts[0], key[1:]).hex() != parts[1]:
            raise NoteRefused("The verifier key does not match its own hash; it was cut or altered.")
        public_key = Ed25519PublicKey.from_public_bytes(key[1:])
        if (origin := _ORIGIN.fullmatch(parts[0])) is not None:
            return cls(origin[1], public_key, int(origin[2]))
        return cls(parts[0], public_key)

    def __str__(self) -> str:
        raw = self.public_key.public_bytes_raw()
        name = f"{self.name}/epoch-{self.epoch}" if self.epoch else self.name
        return f"{name}+{key_hash(name, raw).hex()}+{base64.b64encode(_ED25519 + raw).decode()}"

    def open(self, note: str) -> Statement:
        """Return the statement in the note. Raises `NoteRefused` unless this key signed it for this log."""
        text, signatures = _split(note)
        raw = self.public_key.public_bytes_raw()
        for name, blob in signatures:
            # Earlier releases signed under the name of the log alone.
            ours = name == self.name or name.startswith(f"{self.name}/epoch-")
            if ours and blob[:4] == key_hash(name, raw):
                try:
                    self.public_key.verify(blob[4:], text.encode())
                except InvalidSignature as exc:
                    raise NoteRefused("The signature of the checkpoint does not hold.") from exc
                statement = read_statement(note)
                if name not in (statement.origin, self.name):
                    raise NoteRefused(f"The name of the key, {name}, is not the checkpoint's origin.")
                if statement.log != self.name:
                    raise NoteRefused(f"The checkpoint is of the log {statement.log}, not {self.name}.")
                return statement
        raise NoteRefused(f"The checkpoint is not signed by the key of {self.name}.")


def key_hash(name: str, raw_public_key: bytes) -> bytes:
    """Return the first 4 bytes of SHA-256(name || newline || 0x01 || key), C2SP signed-note."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + raw_public_key).digest()[:4]


def sign_note(statement: Statement, key: Ed25519PrivateKey) -> str:
    """Return the signed checkpoint. Raises `NoteRefused` for a log name with spaces or a plus sign."""
    if not _NAME.fullmatch(statement.log):
        raise NoteRefused("A log name has no spaces and no plus sign, and at most 200 characters.")
    text = statement.text()
    raw = key.public_key().public_bytes_raw()
    blob = key_hash(statement.origin, raw) + key.sign(text.encode())
    return f"{text}\n{MARK}{statement.origin} {base64.b64encode(blob).decode()}\n"


def names_its_key_after_the_log(note: str) -> bool:
    """Return whether an earlier release signed the note, under a key name that is not its origin."""
    text, signatures = _split(note)
    return text.partition("\n")[0] not in {name for name, _ in signatures}


def read_statement(note: str) -> Statement:
    """Return the statement of a note without verifying its signature. Raises `NoteRefused`."""
    lines = _split(note)[0].split("\n")
    origin = _ORIGIN.fullmatch(lines[0])
    if not origin or len(lines) < 4 or not re.fullmatch(r"0|[1-9]\d{0,18}", lines[1]):
        raise NoteRefused("A checkpoint has three lines: <log>/epoch-<n>, the size, the root in base64.")
    root = _base64(lines[2])
    if len(root) != hashlib.sha256().digest_size:
        raise NoteRefused("The root hash of a checkpoint has 32 bytes.")
    return Statement(origin[1], int(origin[2]), int(lines[1]), root)


def split_notes(lines: Iterable[str]) -> Iterator[str]:
    """Yield the notes of a file that holds many, one after the other, each followed by an empty line (as the file sink writes them).

    An origin line begins a new note, also where a full disk cut the note before it.
    """
    note: list[str] = []
    for line in lines:
        if _ORIGIN.fullmatch(line.rstrip("\n")):
            note = [line]
        elif line == "\n" and note and note[-1].startswith(MARK):
            yield "".join(note)
            note = []
        elif note or line.strip():
            note.append(line if line.endswith("\n") else line + "\n")
    if note:
        yield "".join(note)


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise NoteRefused("A signed checkpoint has an empty line before its signatures and ends with a new line.")
    return text + "\n", signature_lines(tail)


def signature_lines(text: str) -> list[tuple[str, bytes]]:
    """Return the signature lines of a note as (key name, key id || signature). Raises `NoteRefused`."""
    if not text.endswith("\n"):
        raise NoteRefused("A signature line ends with a new line.")
    signatures: list[tuple[str, bytes]] = []
    for line in text[:-1].split("\n"):
        name, space, blob = line.removeprefix(MARK).rpartition(" ")
        if not line.startswith(MARK) or not space:
            raise NoteRefused("A signature line reads: — <name> <base64>.")
        # Of any length: lines of unknown keys, such as those of witnesses, are passed over.
        raw = _base64(blob)
        if len(raw) <= _KEY_HASH_BYTES:
            raise NoteRefused("A signature line holds a key hash of 4 bytes and a signature.")
        signatures.append((name, raw))
    return signatures


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise NoteRefused("A checkpoint holds something that is not base64.") from exc
