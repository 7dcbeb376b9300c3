"""The folder of the embedded portal: keys, database, mails and checkpoints, for its owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from audit.files import write_once

OTHERS = stat.S_IRWXG | stat.S_IRWXO
LEAST_SECRET = 32  # characters
MARKS = ("secret_key", "portal.sqlite3")  # the first files that the portal makes in its folder


class OpenToOthers(Exception):
    """The folder, or a file in it, is open to other accounts, and the portal does not change that."""


def prepare_home(home: Path, *, database: str, mail: str) -> None:
    """Make the folder, or take group's and others' access away from an existing one.

    Only a folder that is empty or holds a portal is changed. Raises OpenToOthers, with the command
    to run, for any other one that others may enter, and for one that belongs to another account:
    PKI_HOME may name a shared folder by mistake. Raises OSError where nothing can be written.

    The database file and the mail folder are made here, because SQLite gives its -wal and -shm
    files the mode of the database, and Django's mail backend would leave its folder open.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _open_to_others(home):
        mine = any((home / name).exists() for name in MARKS) or not any(home.iterdir())
        if not mine or not _close(home):
            raise OpenToOthers(
                "names a folder that other accounts can enter: it would show them keys, mails and "
                'the database. Nothing was written. Run: chmod 700 "$PKI_HOME"   or name a folder '
                "of the portal's own."
            )
    for entry in sorted(home.iterdir()):
        if not entry.is_symlink() and _open_to_others(entry) and not _close(entry):
            raise OpenToOthers(
                f"names a folder in which other accounts can read {entry.name}, and that file is "
                f'not the portal\'s. Run as its owner: chmod go-rwx "$PKI_HOME/{entry.name}"'
            )
    os.close(os.open(home / database, os.O_CREAT | os.O_RDWR, 0o600))
    (home / mail).mkdir(mode=0o700, exist_ok=True)


def kept_secret(path: Path) -> str:
    """Return the secret in a file, which the first start makes; two starts at once agree on one.

    Raises ValueError, with what to do, for a file in which there is none. Raises OSError.
    """
    if not path.exists():
        write_once(path, secrets.token_urlsafe(48).encode())
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if len(secret) < LEAST_SECRET or not secret.isascii():
        # Not made anew: what is signed and encrypted under the lost one cannot be read under another.
        raise ValueError(
            f"has a file {path.name} without the secret that it is to hold. Put it back from a backup, or delete the file: the next start "
            "makes another secret, and then everybody signs in anew and adds the second factor anew."
        )
    return secret


def _open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & OTHERS)
    except FileNotFoundError:  # SQLite's -wal, or a draft: another process of this portal has just ended its work with it
        return False


def _close(path: Path) -> bool:
    """Take group's and others' access away. Returns False where this account may not."""
    try:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
    except FileNotFoundError:  # as above
        return True
    except PermissionError:
        return False
    return True
