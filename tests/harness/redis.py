"""A private Redis: loopback, a password of its own, nothing written to disk."""

from __future__ import annotations

import secrets
import shutil
import socket
from pathlib import Path

from tests.harness.console import HarnessError
from tests.harness.processes import Server, free_port

DATABASES = 64  # one for each pytest-xdist worker, see pkiportal.settings.test


class Redis:
    """Configured over its standard input, so that the password stands in no process list. `start()` may follow `kill()`, empty."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._password = secrets.token_urlsafe(16)
        self._server = Server("Redis", folder / "redis.log")
        self.port = free_port()
        self._was_ready = False

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def start(self, *, attempts: int = 5) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise HarnessError("redis-server is missing. Run: apt-get install redis-server", exit_code=2)
        for attempt in range(attempts):
            self._server.spawn([program, "-"], stdin=self._config())
            try:
                self._server.wait_until(self._answers)
            except HarnessError:
                # Somebody took the port between our look and the start. Once clients know the port, it stays.
                if attempt == attempts - 1:
                    raise
                if not self._was_ready:
                    self.port = free_port()
            else:
                self._was_ready = True
                return

    def _config(self) -> str:
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {self.port}",
                f'requirepass "{self._password}"',
                f"databases {DATABASES}",
                'save ""',
                "appendonly no",
                f'dir "{self._folder}"',
                "",
            )
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()
