"""F0: a worker whose acknowledgements did not reach Redis ends itself, and its successor works the queue off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from celery import Celery
from celery.worker import state
from kombu import Connection, Consumer, Queue

from pkiportal.processes.worker_progress import EXIT_CODE, Progress, show_progress
from tests.deploy.compose import compose
from tests.faults.resets import ResettingProxy
from tests.faults.slow_app import NAME
from tests.harness.redis import Redis

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, ORDERED = 2, 6


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def healthy(folder: Path) -> bool:
    """Run the health check of the compose file's workers on the file that this worker touches."""
    kind, command = compose()["services"]["worker"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    shell = command.replace("/tmp/worker-progress", str(folder / "progress"))
    return subprocess.run(["/bin/sh", "-c", shell], check=False, stderr=subprocess.DEVNULL).returncode == 0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    own = Redis(tmp_path / "redis")
    own.start()
    yield own
    own.stop()


class Running:
    """A task that a process of the pool works on."""


@pytest.fixture
def worker_state(settings: Any, tmp_path: Path) -> Iterator[Any]:
    settings.PKI_WORKER_STUCK_SECONDS, settings.PKI_WORKER_PROGRESS_FILE = 0, str(tmp_path / "progress")
    yield state
    state.should_stop = None
    state.active_requests.clear()


def test_slots_that_stay_occupied_while_nothing_runs_end_the_worker(redis: Redis, worker_state: Any, tmp_path: Path) -> None:
    """F0: on kombu's real channel. While a task runs the slot is rightly occupied."""
    with Connection(redis.url) as connection:
        channel, queue = connection.channel(), Queue("q")
        channel.basic_qos(0, 1, False)
        consumer = SimpleNamespace(task_consumer=Consumer(channel, [queue(channel)], callbacks=[lambda body, message: None]))
        progress = Progress(consumer)
        consumer.task_consumer.consume()
        progress.look(consumer)
        assert healthy(tmp_path)
        connection.Producer(channel).publish({}, routing_key="q", declare=[queue])
        connection.drain_events(timeout=5)
        task = Running()
        worker_state.active_requests.add(task)
        progress.look(consumer)
        assert not worker_state.should_stop
        worker_state.active_requests.clear()
        (tmp_path / "progress").unlink()
        progress.look(consumer)
        assert (worker_state.should_stop, healthy(tmp_path)) == (EXIT_CODE, False)


def test_health_check_fails_when_the_worker_has_not_touched_its_file_for_a_minute(tmp_path: Path) -> None:
    """F0: a worker that hangs answers nothing and touches nothing."""
    assert not healthy(tmp_path)
    (tmp_path / "progress").touch()
    assert healthy(tmp_path)
    past = time.time() - 130
    os.utime(tmp_path / "progress", (past, past))
    assert not healthy(tmp_path)


def test_progress_file_that_cannot_be_written_is_logged_and_stops_nothing(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """F0: another user's file of that name must not end every worker of the host."""
    settings.PKI_WORKER_PROGRESS_FILE = "/proc/version/progress"
    show_progress()
    assert "PKI_WORKER_PROGRESS_FILE" in caplog.text


class SlowWorker:
    """A worker with the production settings that reaches Redis through the proxy."""

    def __init__(self, folder: Path, broker: str) -> None:
        settings = {
            "DJANGO_SETTINGS_MODULE": "pkiportal.settings.production",
            "SECRET_KEY": "k" * 50,
            "DATABASE_URL": "postgres://nobody:x@127.0.0.1:1/none",
            "REDIS_URL": broker,
            "EMAIL_URL": "smtp://127.0.0.1",
            "PKI_ALLOWED_HOSTS": "pki.example.com",
            "PKI_BASE_URL": "http://pki.example.com",
            "PKI_OPERATOR_EMAILS": "operators@example.com",
            "PKI_WORKER_PROGRESS_FILE": str(folder / "progress"),
            "PKI_WORKER_STUCK_SECONDS": "5",
            "PATH": "/usr/bin:/bin",
        }
        command = ["-m", "celery", "-A", "tests.faults.slow_app", "worker", "-Q", "workflow", "-c", str(PROCESSES), "-n", "slow@%h"]
        (folder / "progress").unlink(missing_ok=True)
        self.log = folder / "worker.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, *command], env=settings, cwd=ROOT, stdout=log, stderr=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.mark.long_fault
def test_worker_ends_itself_after_lost_acknowledgements_and_its_successor_works_the_queue_off(redis: Redis, tmp_path: Path) -> None:
    """F0: a firewall resets the idle connection of acknowledgements while tasks run; the one that waits for messages lives on."""
    sender = Celery(broker=redis.url)

    def done() -> int:
        return len(list(tmp_path.glob("done-*")))

    with ExitStack() as stack:
        proxy = stack.enter_context(ResettingProxy(redis.port))
        broker = redis.url.replace(str(redis.port), str(proxy.port))
        first = stack.enter_context(SlowWorker(tmp_path, broker))
        assert within(60, lambda: healthy(tmp_path)), first.log.read_text()
        for number in range(ORDERED):
            sender.send_task(NAME, args=[str(tmp_path), number, 2.0], queue="workflow")
        time.sleep(1)
        proxy.cut(but=(b"BRPOP", b"SUBSCRIBE"))
        assert within(10, lambda: done() == PROCESSES)
        time.sleep(1)
        proxy.mend()
        assert within(40, lambda: first.process.poll() is not None), "it lives on and takes nothing"
        assert first.process.returncode == EXIT_CODE
        assert "This worker ends itself" in first.log.read_text()
        assert done() == PROCESSES
        stack.enter_context(SlowWorker(tmp_path, broker))  # as its supervisor does
        assert within(60, lambda: done() == ORDERED)
        assert healthy(tmp_path)
