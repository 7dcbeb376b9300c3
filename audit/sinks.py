"""Where checkpoints go, outside the database, so that a shortened or rebuilt log shows.

`settings.AUDIT_SINKS` lists callables by dotted path; each is called without arguments and gives a `Sink`. The more of them lie where
the portal's administrators cannot write, the more the log proves.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string

from audit.transparency.checkpoint import read_statement, split_notes
from audit.transparency.signing_key import audit_home

# A note is about 200 bytes; the last one is found in the file's tail without reading the rest.
_TAIL_BYTES = 8192
_DEFAULT = "audit.sinks.FileSink"


class Sink(Protocol):
    """Takes signed notes. `last()` is the newest note it took, or None when it is empty or cannot be read back (mail, syslog).

    A sink that can be read back whole also has `notes()`: every complete note, oldest first.
    """

    def publish(self, note: str) -> None: ...

    def last(self) -> str | None: ...


def notes_of(sink: Sink) -> Iterator[str]:
    """Return what a sink took up to now, oldest first; of one without `notes()` only the newest."""
    last = sink.last()
    if last is None:
        return
    notes = getattr(sink, "notes", None)
    for note in notes() if notes is not None else ():
        if note == last:
            break
        yield note
    yield last


def get_sinks() -> list[Sink]:
    """Return the sinks that the settings name; one file beside the sealing key by default."""
    return [cast("Sink", import_string(path)()) for path in getattr(settings, "AUDIT_SINKS", [_DEFAULT])]


def sink_places() -> list[str]:
    """Return where checkpoints are kept, in words: the `place` of each sink's class, or its name."""
    found = [import_string(path) for path in getattr(settings, "AUDIT_SINKS", [_DEFAULT])]
    return [str(getattr(one, "place", getattr(one, "__name__", "")) or "a sink") for one in found]


class FileSink:
    """Appends each note, and an empty line, to `checkpoints.log`; written through to the disk before it returns."""

    place = "the file checkpoints.log"

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or audit_home() / "checkpoints.log"

    def publish(self, note: str) -> None:
        """Append, unless the file is as far already: two sealers that finish at once may come here in either order."""
        # O_APPEND and the lock: a second process that publishes at once neither overwrites this note nor mixes with it.
        statement = read_statement(note)
        descriptor = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            tail = _tail(file)
            last = _last_note(tail)
            if last is not None and _place(last) >= (statement.epoch, statement.size):
                return
            # A note that a full disk cut off stays where it is; the next begins on a line of its own.
            start = b"" if not tail or tail.endswith(b"\n") else b"\n"
            file.write(start + f"{note}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def last(self) -> str | None:
        """Return the last complete note. One that was cut off is passed over: the sealer publishes it again."""
        try:
            with self.path.open("rb") as file:
                return _last_note(_tail(file))
        except FileNotFoundError:
            return None

    def notes(self) -> Iterator[str]:
        """Yield every note of the file, oldest first."""
        with self.path.open(encoding="utf-8", errors="replace") as file:
            yield from split_notes(file)


def _tail(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read(_TAIL_BYTES)


def _last_note(tail: bytes) -> str | None:
    complete = tail[: tail.rfind(b"\n\n") + 2].decode(errors="replace")
    notes = list(split_notes(complete.splitlines(keepends=True)))
    # The text before the last empty line may be a note whose signature was cut off.
    whole = [note for note in notes if note.rpartition("\n\n")[2].startswith("— ")]
    return whole[-1] if whole else None


def _place(note: str) -> tuple[int, int]:
    statement = read_statement(note)
    return statement.epoch, statement.size
