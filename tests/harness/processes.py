"""Child processes that never outlive the run: started in a session of their own, stopped by the process id we were given."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.harness.console import HarnessError

_PR_SET_PDEATHSIG = 1


def free_port() -> int:
    """A loopback port that is free now. Another run may take it before we do, so whoever starts a server on it tries again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_user() -> str | None:
    """The ordinary user that servers which refuse to be root run as, or None when we are an ordinary user already."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise HarnessError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody` to run it as.", exit_code=2)


def give_to(user: str | None, path: Path) -> None:
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def _as_user(user: str | None) -> dict[str, object]:
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def run_tool(command: Sequence[str | Path], *, user: str | None = None, env: Mapping[str, str] | None = None) -> None:
    """Run a tool to its end; raise HarnessError with its output when it fails."""
    done = subprocess.run(  # type: ignore[call-overload]
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
        env=None if env is None else dict(env),
        **_as_user(user),
    )
    if done.returncode:
        raise HarnessError(f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{done.stdout[-4000:]}")


def die_with_parent(stop_signal: int) -> Callable[[], None]:
    """Linux: the child gets `stop_signal` when we die without a chance to stop it (kill -9). Runs between fork and exec."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)

    return ask


class Server:
    """One server process with a log file. `stop()` is safe to call twice and after the process died."""

    def __init__(self, name: str, log: Path, *, stop_signal: int = signal.SIGTERM) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self.process: subprocess.Popen[str] | None = None

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        user: str | None = None,
        stdin: str | None = None,
        stdout: int | IO[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        with self.log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                [str(part) for part in command],
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=log if stdout is None else stdout,
                stderr=log,
                text=True,
                cwd="/",
                env=None if env is None else dict(env),
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we stop the servers in order
                preexec_fn=die_with_parent(self._stop_signal),  # noqa: PLW1509 - one thread, and the hook only makes a system call
                **_as_user(user),
            )
        if stdin is not None and self.process.stdin is not None:
            self.process.stdin.write(stdin)
            self.process.stdin.close()
        return self.process

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait for `ready`; a process that ended or stays silent is a HarnessError with the end of its log."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process is None or self.process.poll() is not None:
                raise HarnessError(f"{self.name} ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise HarnessError(f"{self.name} was not ready after {seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9`, as a test of crashes does it."""
        if self.process is not None:
            self.process.kill()
            self._reap()

    def stop(self, *, seconds: float = 15) -> None:
        if self.process is None:
            return
        self.process.send_signal(self._stop_signal)  # a process that already ended takes none
        try:
            self._reap(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _reap(self, seconds: float | None = None) -> None:
        if self.process is not None:
            self.process.wait(seconds)
            if self.process.stdout is not None:
                self.process.stdout.close()

    def log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:] if self.log.exists() else "(no log)"
