"""Runs in a real worker: begin, end and result of each are recorded, and nothing secret of an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from celery import current_app

from certs.models import QueueProgress, ScheduledJob
from certs.schedules import queues
from certs.schedules.due import NAME_HEADER, PERIOD_HEADER
from db.clock import database_now

pytestmark = pytest.mark.django_db(transaction=True)


def within(seconds: float, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("did not happen in time")


@pytest.fixture
def job() -> ScheduledJob:
    now = database_now()
    return ScheduledJob.objects.create(name="j", task="t", rule="r", due_at=now, done_until=now - timedelta(days=1), sent_period=now)


def send(job: ScheduledJob, task: str, **kwargs: object) -> None:
    assert job.sent_period is not None
    headers = {NAME_HEADER: job.name, PERIOD_HEADER: job.sent_period.isoformat()}
    current_app.send_task(task, kwargs=kwargs, headers=headers)


@pytest.mark.usefixtures("worker")
def test_a_run_that_succeeds_is_recorded_once_however_often_its_message_comes(job: ScheduledJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "RECORD_EVERY_SECONDS", 0)
    send(job, "certs.tasks.forget_old_drafts")
    within(10, lambda: ScheduledJob.objects.get().result == "succeeded")
    done = ScheduledJob.objects.get()
    assert done.started_at is not None
    assert done.finished_at is not None
    assert job.sent_period == done.started_period == done.done_until
    for _ in range(3):
        send(job, "certs.tasks.forget_old_drafts")
    send(job, "certs.tasks.end_chunk", wrong="argument")
    within(5, lambda: QueueProgress.objects.filter(name="workflow").exists())
    time.sleep(0.5)
    again = ScheduledJob.objects.get()
    assert (again.started_at, again.result, again.starts) == (done.started_at, "succeeded", 1)


@pytest.mark.usefixtures("worker")
def test_a_run_that_fails_is_recorded_by_the_type_of_its_error(job: ScheduledJob) -> None:
    """The text of an error may quote anything, a password too."""
    send(job, "certs.tasks.end_chunk", hunter2="secret")
    within(10, lambda: ScheduledJob.objects.get().result == "failed")
    failed = ScheduledJob.objects.get()
    assert failed.error.startswith("TypeError;")
    assert "hunter2" not in failed.error
    assert failed.done_until < database_now() - timedelta(hours=23)


@pytest.mark.usefixtures("worker")
def test_tasks_that_no_schedule_sent_leave_the_due_table_alone(job: ScheduledJob) -> None:
    current_app.send_task("certs.tasks.forget_old_drafts")
    current_app.send_task("certs.tasks.forget_old_drafts", headers={NAME_HEADER: "j"})
    time.sleep(1)
    assert ScheduledJob.objects.get().started_at is None
