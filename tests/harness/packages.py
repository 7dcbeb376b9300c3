"""Debian's packages that the tests need: found by what they bring, installed as root, named to everybody else."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import postgres, softhsm
from tests.harness.console import HarnessError, say

_SERVERS = f"{os.environ.get('PATH', '')}:/usr/sbin"


def _command(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


def _system_python_makes_environments() -> bool:
    """tools/venv.py takes the system's Python where it is the faster one; without a system's Python there is nothing to want."""
    python = shutil.which("python3", path="/usr/bin")
    return python is None or subprocess.run([python, "-I", "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0


PACKAGES: dict[str, Callable[[], bool]] = {
    "apache2-bin": lambda: _server("apache2"),
    "caddy": lambda: _server("caddy"),
    "chromium-headless-shell": lambda: _headless_shell() or _cannot_install_and_has_another_chromium(),
    "curl": _command("curl"),
    "dovecot-imapd": lambda: _server("dovecot"),
    "faketime": _command("faketime"),
    "git": _command("git"),
    "gnutls-bin": _command("certtool"),
    "haproxy": lambda: _server("haproxy"),
    "nginx-light": lambda: nginx() is not None,
    "openssl": _command("openssl"),
    "postfix": lambda: _server("postfix"),
    "postgresql": lambda: postgres.binary("initdb") is not None and postgres.binary("postgres") is not None,
    "python3-venv": lambda: importlib.util.find_spec("ensurepip") is not None and _system_python_makes_environments(),
    "redis-server": _command("redis-server"),
    "softhsm2": lambda: shutil.which("softhsm2-util") is not None and softhsm.module_path() is not None,
    "wrk": _command("wrk"),
}


# Chromium without windows first: the same pages cost it half the CPU time, and a new context a quarter.
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


def _headless_shell() -> bool:
    return shutil.which(_BROWSERS[0]) is not None


def _cannot_install_and_has_another_chromium() -> bool:
    """Whoever is not root need not ask for the headless one where there is a Chromium."""
    return os.geteuid() != 0 and chromium() is not None


def nginx() -> str | None:
    return shutil.which("nginx", path=_SERVERS)


def _server(name: str) -> bool:
    """Whether a server program is there: an ordinary user's PATH has none of their folders."""
    return shutil.which(name, path=_SERVERS) is not None


def missing() -> list[str]:
    return [name for name, present in PACKAGES.items() if not present()]


@contextmanager
def services_not_started(policy: Path = Path("/usr/sbin/policy-rc.d")) -> Iterator[None]:
    """Keep Debian from starting the servers of packages that are installed within: the tests start their own.

    `policy-rc.d` is Debian's means for that (Debian Policy 9.3.3.1, invoke-rc.d(8)); one that an administrator made stays.
    """
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def ensure() -> None:
    """Install what is missing as root; as anybody else say the one command and stop (exit code 2)."""
    names = missing()
    if not names:
        return
    install = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(names)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise HarnessError(f"The tests need programs that are not here. Run this as root, then try again:\n\n    {install}\n", exit_code=2)
    say(f"Debian: installing {' '.join(names)}")
    # A second run that starts now waits for the first one's lock instead of failing.
    apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"]
    with services_not_started():
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *names]):
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            if subprocess.run([*apt, *arguments], stdin=subprocess.DEVNULL, env=env, check=False).returncode:
                raise HarnessError(f"apt-get {arguments[0]} failed, see above. By hand: {install}")
    if still := missing():
        raise HarnessError(f"apt-get installed {' '.join(still)}, but what the tests look for is still not there.")
