"""Files that hold a secret and are made once: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


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
