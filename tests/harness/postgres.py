"""A private PostgreSQL: a new cluster in the run's folder, on a free loopback port.

`fsync=off`: the cluster never survives a power cut, and need not; committed rows do survive `kill -9` of the server, because
`synchronous_commit` stays on and the operating system keeps what was written. Tests of crashes are therefore sound on it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import shutil
import signal
import socket
import time
from pathlib import Path

from tests.harness.console import HarnessError
from tests.harness.processes import Server, free_port, give_to, run_tool, server_user

USER = "pki_test"
_SOCKET_PATH_LIMIT = 90  # sun_path holds 107 bytes, the file name takes some


def binary(name: str) -> Path | None:
    """A server program of PostgreSQL: Debian keeps them out of PATH, one folder a version; the newest counts."""

    def version(folder: Path) -> int:
        return int(folder.name) if folder.name.isdigit() else -1

    for folder in sorted(Path("/usr/lib/postgresql").glob("*"), key=version, reverse=True):
        if (folder / "bin" / name).exists():
            return folder / "bin" / name
    found = shutil.which(name)
    return Path(found) if found else None


def scram_secret(password: str, iterations: int = 1) -> str:
    """Return what PostgreSQL keeps of a password (RFC 5802, 3).

    With PostgreSQL's own 4096 rounds each of ten thousand connections would cost its client 3 ms of
    CPU time. They slow down guessing; a password of 128 random bits cannot be guessed.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    stored = hashlib.sha256(client).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"


class Postgres:
    """A cluster in `folder`. `start()` may follow `kill()`: it keeps port and data."""

    def __init__(self, folder: Path) -> None:
        self._user = server_user()
        self._folder = folder
        self._password = secrets.token_urlsafe(16)
        self._server = Server("PostgreSQL", folder / "postgres.log", stop_signal=signal.SIGINT)  # SIGINT: fast shutdown
        self.port = free_port()
        self._was_ready = False

    @property
    def url(self) -> str:
        return f"postgres://{USER}:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def create(self) -> None:
        """Make the cluster. Root hands its folder to the user that PostgreSQL runs as."""
        self._folder.mkdir(mode=0o700, parents=True)
        password_file = self._folder / "password"
        password_file.write_text(scram_secret(self._password), encoding="ascii")
        for path in (password_file, self._folder):
            give_to(self._user, path)
        options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8"]
        run_tool([self._program("initdb"), "-D", self._data, "--no-sync", *options], user=self._user)
        password_file.unlink()

    def start(self, *, attempts: int = 5) -> None:
        for attempt in range(attempts):
            self._server.spawn(self._command(), user=self._user)
            try:
                self._server.wait_until(self._accepts)
            except HarnessError:
                # Somebody took the port between our look and the start; or, after kill(), old backends are still going.
                if attempt == attempts - 1:
                    raise
                if not self._was_ready:
                    self.port = free_port()
                time.sleep(0.5)
            else:
                self._was_ready = True
                return

    def _command(self) -> list[str | Path]:
        socket_folder = str(self._folder) if len(str(self._folder)) < _SOCKET_PATH_LIMIT else ""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": socket_folder,
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "log_min_messages": "warning",
            "timezone": "UTC",
        }
        return [self._program("postgres"), "-D", self._data, *(part for k, v in options.items() for part in ("-c", f"{k}={v}"))]

    def _accepts(self) -> bool:
        # The lock file gets its last line, `ready`, when connections are welcome; a port that answers could be a stranger's.
        lines = self._data.joinpath("postmaster.pid")
        try:
            content = lines.read_text(encoding="ascii").split()
        except OSError:
            return False
        ours = self._server.process is not None and content[:1] == [str(self._server.process.pid)]
        if not ours or content[-1] != "ready":
            return False
        with socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True

    @staticmethod
    def _program(name: str) -> Path:
        found = binary(name)
        if found is None:
            raise HarnessError(f"PostgreSQL's program {name} is missing. Run: apt-get install postgresql", exit_code=2)
        return found

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()
