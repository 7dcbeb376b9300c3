"""Two beats as real processes on PostgreSQL and Redis: one killed, one stopped, each period of a job runs once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from audit.models import AuditEvent
from certs.models import BeatLease, ScheduledJob
from certs.schedules import leader
from db.clock import database_now
from pkiportal.celery import app
from tests.faults.processes import Worker, environment

pytestmark = pytest.mark.django_db(transaction=True)

TAKES_OVER_WITHIN = 12.0  # seconds; the lease of 5 s, the pause of the other, and a busy machine


class Beat:
    """`celery beat` as the compose file starts it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        env = environment(PKI_WORKER_PROGRESS_FILE=str(folder / f"{name}.progress"))
        command = [sys.executable, "-m", "celery", "-A", "pkiportal", "beat", "--schedule", str(folder / name), "--pidfile="]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    @property
    def leads(self) -> bool:
        lease = BeatLease.objects.filter(until__gt=database_now()).first()
        return lease is not None and lease.host.endswith(f":{self.process.pid}")

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self) -> None:
        self.send(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


def within(seconds: float, condition: Callable[[], bool]) -> float:
    """Return how long it took until the condition held."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if condition():
            return time.monotonic() - begun
        time.sleep(0.1)
    raise AssertionError(f"did not happen within {seconds} s")


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[tuple[Beat, Beat]]:
    """The first leads. Every second a job of one second runs, and once a minute one at a time of day."""
    app.control.purge()
    BeatLease.objects.all().delete()
    ScheduledJob.objects.all().delete()
    PeriodicTask.objects.all().delete()
    first = Beat(tmp_path, "first")
    try:
        within(40, lambda: first.leads)
        second = Beat(tmp_path, "second")
    except BaseException:
        first.end()
        raise
    try:
        yield first, second
    finally:
        first.end()
        second.end()
        app.control.purge()


def runs_of_each_period() -> list[int]:
    """How often each period of the schedule ran, from a table that the database itself writes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM test_begun GROUP BY name, period")
        return [count for (count,) in cursor.fetchall()]


@pytest.fixture
def every_begin() -> Iterator[None]:
    """A trigger that writes down each begin of a run, so that nothing of the portal's own counting is relied on."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE test_begun (name text, period timestamptz)")
        cursor.execute(
            "CREATE FUNCTION test_begun() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.started_at IS DISTINCT FROM OLD.started_at THEN INSERT INTO test_begun VALUES (NEW.name, NEW.started_period); END IF;"
            " RETURN NEW; END $$"
        )
        cursor.execute("CREATE TRIGGER test_begun AFTER UPDATE ON certs_scheduledjob FOR EACH ROW EXECUTE FUNCTION test_begun()")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER test_begun ON certs_scheduledjob")
        cursor.execute("DROP FUNCTION test_begun")
        cursor.execute("DROP TABLE test_begun")


def schedules() -> None:
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.SECONDS)
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="*", hour="*", timezone="UTC")
    PeriodicTask.objects.create(name="each second", task="certs.tasks.close_chunks", interval=interval)
    PeriodicTask.objects.create(name="each minute", task="certs.tasks.forget_old_drafts", crontab=crontab)


def runs() -> int:
    return sum(runs_of_each_period())


@pytest.mark.long_fault
@pytest.mark.usefixtures("every_begin")
def test_killed_and_stopped_beats_are_replaced_and_each_period_runs_once(beats: tuple[Beat, Beat], tmp_path: Path) -> None:
    """F11: what is stopped leads no more, and does no harm when it wakes up."""
    first, second = beats
    schedules()
    with Worker(tmp_path / "worker.log", environment(), processes=2):
        within(60, lambda: runs() > 3)
        assert first.leads

        first.send(signal.SIGSTOP)
        assert within(TAKES_OVER_WITHIN, lambda: second.leads) <= TAKES_OVER_WITHIN
        counted = runs()
        within(20, lambda: runs() > counted + 2)

        first.send(signal.SIGCONT)  # it wakes up in the middle of whatever it did
        time.sleep(3)
        assert second.leads

        second.process.kill()
        within(TAKES_OVER_WITHIN, lambda: first.leads)
        counted = runs()
        within(20, lambda: runs() > counted + 2)
        within(70, lambda: ScheduledJob.objects.filter(name="each minute", result="succeeded").exists())
    assert set(runs_of_each_period()) == {1}


@pytest.mark.long_fault
def test_beat_that_stops_in_good_order_hands_over_at_once(beats: tuple[Beat, Beat]) -> None:
    first, second = beats
    time.sleep(8)  # the second has started
    first.send(signal.SIGTERM)
    assert within(TAKES_OVER_WITHIN, lambda: second.leads) < leader.LEASE.total_seconds() + 4


@pytest.mark.long_fault
def test_the_night_that_was_missed_is_caught_up_by_real_processes(beats: tuple[Beat, Beat], tmp_path: Path) -> None:
    """C1: eight days without beat, then everything has run within seconds."""
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="0", hour="2", timezone="UTC")
    PeriodicTask.objects.create(name="night", task="certs.tasks.check_expiry", crontab=crontab)
    within(10, lambda: ScheduledJob.objects.filter(name="night").exists())
    ago = database_now() - timedelta(days=8)
    ScheduledJob.objects.update(due_at=ago, done_until=ago)
    with Worker(tmp_path / "worker.log", environment(), processes=2):
        within(60, lambda: ScheduledJob.objects.filter(name="night", result="succeeded").exists())
    job = ScheduledJob.objects.get(name="night")
    assert (job.missed, job.starts) == (8, 1)
    assert job.due_at is not None
    assert job.due_at > database_now()
    assert not AuditEvent.objects.filter(event="request:submitted").exists()
