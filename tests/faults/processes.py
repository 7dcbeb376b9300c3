"""Real worker processes of the portal on the test's own database, Redis and Vault: started, killed without a word, started again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings
from django.db import connection

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


class Worker:
    """A prefork worker in a process group of its own, so that one signal ends parent and children at once."""

    def __init__(self, log: Path, env: dict[str, str], *, processes: int = 2) -> None:
        self.log, self.env, self.processes = log, env, processes
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            "-Q",
            ",".join(QUEUES),
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
