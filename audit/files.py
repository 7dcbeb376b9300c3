"""Files that a command writes for somebody, and files of secrets: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path

from django.core.management.base import CommandError


class FileNotWritten(CommandError):
    """A file that a command was to write cannot be written (exit code 1)."""

    next_step = "Make room or name another file, and run the command again."

    def __init__(self, error: str) -> None:
        super().__init__(f"{error} {self.next_step}", returncode=1)
        self.error = error


def write_whole(path: Path, pieces: Iterable[bytes]) -> int:
    """Write `pieces` to `path` and return their number. A file that is there is replaced at the end, at once.

    Raises FileNotWritten; what was at `path` before is there still, as after
    any other error or the end of the process.
    """
    count = 0
    try:
        if path.exists() and not path.is_file():  # a device or a pipe, such as /dev/stdout, is written as it is
            with path.open("wb") as file:
                for count, piece in enumerate(pieces, start=1):  # noqa: B007 - it is returned
                    file.write(piece)
            return count
        target = path.resolve()  # a link stays a link
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for count, piece in enumerate(pieces, start=1):  # noqa: B007 - as above
                    file.write(piece)
                os.fchmod(file.fileno(), _mode(target))
                file.flush()
                os.fsync(file.fileno())  # a power cut after the rename must not leave an empty file
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise FileNotWritten(f"{path} cannot be written: {exc.strerror}. A file that was there is unchanged.") from exc
    return count


def _mode(path: Path) -> int:
    """Return the mode of the file that is replaced, or the usual one of a new file."""
    if path.exists():
        return path.stat().st_mode & 0o777
    usual = os.umask(0o077)
    os.umask(usual)
    return 0o666 & ~usual


def write_once(path: Path, content: bytes) -> bool:
    """Write a file of mode 0600 that is either whole and on the disk, or not there at all.

    Returns whether it was written: of two processes the first one's stays. Raises OSError.
    """
    # A link fails where the name exists, which a rename does not: another process's key may have encrypted something already. And
    # whoever opens the name reads all of it: a file that is made first and written then is empty for a moment, and after a crash.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    written = False
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            written = True
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # else a crash may take the name away again, and the keys that were made under it are lost
    finally:
        os.close(folder)
    return written
