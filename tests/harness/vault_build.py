"""The Vault that the tests talk to: PKI_TEST_VAULT_BIN, or `tests/vaultd/` built with Go, once, into a cache outside the tree.

`python3 -m tests.harness.vault_build` builds when needed and prints the program's path. Runs that start together build once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.harness.console import HarnessError, complain, say

SOURCE = Path(__file__).resolve().parent.parent / "vaultd"
_OLDEST_GO = (1, 21)


def chosen_binary() -> Path | None:
    """The `vault` or `bao` that the user named; a name that is no program is an error, not a reason to build."""
    named = os.environ.get("PKI_TEST_VAULT_BIN")
    if not named:
        return None
    found = shutil.which(named)
    if found is None:
        message = f"PKI_TEST_VAULT_BIN names {named}, which is no program. Correct it, or unset it: then tests/vaultd is built."
        raise HarnessError(message, exit_code=2)
    return Path(found)


def cached_binary() -> Path:
    """Where the program built from exactly these sources is, or will be."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "pkiportal" / f"vaultd-{digest.hexdigest()}" / "vaultd"


def usable_go() -> str | None:
    """The `go` command, if it is there and new enough for tests/vaultd/go.mod."""
    go = shutil.which("go")
    if go is None:
        return None
    answer = subprocess.run([go, "version"], stdout=subprocess.PIPE, text=True, check=False, cwd=SOURCE).stdout
    version = re.search(r"go(\d+)\.(\d+)", answer)
    return go if version and tuple(map(int, version.groups())) >= _OLDEST_GO else None


def build() -> Path:
    """Build under a lock into a temporary name, then rename: no run ever sees half a program."""
    target = cached_binary()
    if target.exists():
        return target
    go = usable_go()
    if go is None:
        raise HarnessError(f"Go {_OLDEST_GO[0]}.{_OLDEST_GO[1]} or newer is needed to build tests/vaultd.", exit_code=2)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            half_done = target.parent / f"vaultd.{os.getpid()}"
            try:
                command = [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(half_done), "."]
                done = subprocess.run(command, cwd=SOURCE, stdin=subprocess.DEVNULL, check=False)
                if done.returncode:
                    raise HarnessError(f"go build of tests/vaultd failed with exit code {done.returncode}.")
                half_done.replace(target)
            finally:
                half_done.unlink(missing_ok=True)
    return target


class VaultBuild:
    """The build as a child of its own, started before anything else so that it runs beside the installs."""

    def __init__(self) -> None:
        self._binary = chosen_binary()
        self._process: subprocess.Popen[str] | None = None
        if self._binary is None and cached_binary().exists():
            self._binary = cached_binary()
        elif self._binary is None and usable_go() is not None:
            say("Vault: building tests/vaultd beside the rest (minutes the first time, then kept in the cache folder)")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.vault_build"],
                cwd=SOURCE.parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def result(self) -> Path | None:
        """Wait for the program; None where neither a binary nor Go is there. A failed build is an error."""
        if self._process is not None:
            output, _ = self._process.communicate()
            if self._process.returncode:
                raise HarnessError(f"Building tests/vaultd failed:\n{output[-4000:]}")
            self._binary = cached_binary()
            self._process = None
        return self._binary

    def stop(self) -> None:
        """End a build that is still going, the compilers it started included: the group is ours alone."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()


if __name__ == "__main__":
    try:
        print(build())
    except HarnessError as problem:
        complain(str(problem))
        sys.exit(problem.exit_code)
