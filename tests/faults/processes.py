"""Real worker processes of the portal on the test's own database, Redis and Vault: started, killed without a word, started again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection

DOCKERFILE = Path(__file__).resolve().parents[2] / "Dockerfile"
QUEUES = tuple(queue.name for queue in settings.CELERY_TASK_QUEUES)


def environment(**more: str) -> dict[str, str]:
    """So that a child sees the very database, broker and home of this test."""
    url = urlsplit(os.environ["PKI_TEST_DATABASE_URL"])
    database = urlunsplit(url._replace(path=f"/{connection.settings_dict['NAME']}"))
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "pkiportal.settings.test",
        "PKI_TEST_DATABASE": "postgres",
        "PKI_TEST_DATABASE_URL": database,
        "PKI_HOME": str(settings.PKI_HOME),
        **more,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Web:
    """gunicorn as the image runs it (the Dockerfile's CMD), on a loopback port."""

    def __init__(self, log: Path, env: dict[str, str]) -> None:
        self.log, self.env, self.port = log, env, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Octets that its processes hold."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        lines = [line for child in children for line in Path(f"/proc/{child}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def __enter__(self) -> Self:
        command = json.loads(re.findall(r"^CMD (.*)$", DOCKERFILE.read_text(), re.MULTILINE)[-1])
        command = [part.replace("0.0.0.0:8000", f"127.0.0.1:{self.port}") for part in command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", *command], env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                return self
            time.sleep(0.05)
        self.__exit__(None, None, None)
        raise AssertionError(f"gunicorn did not come up: {self.log.read_text()[-3000:]}")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:  # a client holds a thread: what is tested here
                self.process.kill()
                self.process.wait()


class Worker:
    """A prefork worker in a process group of its own, so that one signal ends parent and children at once."""

    def __init__(self, log: Path, env: dict[str, str], *, processes: int = 2, queues: Sequence[str] = QUEUES) -> None:
        self.log, self.env, self.processes, self.queues = log, env, processes, queues
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            "-Q",
            ",".join(self.queues),
            "-c",
            str(self.processes),
            "-l",
            "WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
        command = [sys.executable, "-m", "celery", "-A", "pkiportal", "worker", *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def kill(self) -> None:
        """SIGKILL to the whole group: nothing is flushed, nothing is said."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the whole group for the block (SIGSTOP); it goes on after it if it still lives."""
        assert self.process is not None
        group = self.process.pid
        os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            if self.process is not None:
                os.killpg(group, signal.SIGCONT)

    def kill_child(self, dice: random.Random) -> None:
        """SIGKILL to one process of the pool; its parent finds out and starts another."""
        if self.process is None:
            return
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if listed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(dice.choice(listed)), signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
