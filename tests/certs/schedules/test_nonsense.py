"""Schedules that make no sense: each is an alert of its own, and no other job, page or gauge suffers from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from certs.models import BeatLease, OperatorAlert, ScheduledJob
from certs.schedules import due, periods
from certs.schedules.alarm import check
from certs.schedules.due import send_due
from certs.schedules.machinery import machinery
from certs.schedules.periods import last_period, next_after, rule_of
from db.clock import database_now
from pkiportal.celery import app
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DAY = timedelta(days=1)
NIGHT = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)


def every(number: int, period: str = "seconds") -> dict[str, Any]:
    return {"interval": IntervalSchedule.objects.create(every=number, period=period)}


def at(**fields: str) -> dict[str, Any]:
    return {"crontab": CrontabSchedule.objects.create(timezone="UTC", **{"minute": "0", "hour": "2"} | fields)}


# The first three pass the forms of the admin; the others need a person in the database.
NONSENSE: dict[str, Callable[[], dict[str, Any]]] = {
    "31 February": lambda: at(day_of_month="31", month_of_year="2"),
    "more days than a timedelta has": lambda: every(2_147_483_647, "days"),
    "more days than the calendar has": lambda: every(4_000_000, "days"),
    "every 0 seconds": lambda: every(0),
    "every minus 5 seconds": lambda: every(-5),
    "minute 61": lambda: at(minute="61"),
    "no number": lambda: at(minute="noon"),
}


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    for model in (PeriodicTask, ScheduledJob, BeatLease, OperatorAlert):
        model._default_manager.all().delete()
    app.control.purge()
    yield
    app.control.purge()


@pytest.fixture
def night() -> PeriodicTask:
    return PeriodicTask.objects.create(name="night", task="certs.tasks.check_expiry", **at())


def known(name: str, **fields: Any) -> None:
    due.follow_schedules({task.name: task for task in PeriodicTask.objects.all()}, NIGHT - DAY)
    ScheduledJob.objects.filter(name=name).update(**fields)


@pytest.mark.parametrize("kind", list(NONSENSE))
def test_schedule_that_is_never_due_is_an_alert_and_holds_up_nothing(kind: str, night: PeriodicTask, portal: Portal) -> None:
    PeriodicTask.objects.create(name="odd", task="certs.tasks.sweep", **NONSENSE[kind]())
    now = database_now()
    BeatLease.objects.create(pk=1, holder="a", host="host:1", since=now - DAY, until=now + timedelta(seconds=5))
    known("night", due_at=now - timedelta(minutes=1), done_until=now)
    assert send_due(now) == ["night"]
    assert send_due(now + timedelta(seconds=1)) == []
    states = {job.name: (str(job.state), job.missed) for job in machinery(now).jobs}
    assert states == {"night": ("waits for a worker", False), "odd": ("is never due", True)}
    (problem,) = check(now)
    assert (problem.kind, problem.cause) == ("job_missed", "job:odd")
    assert "never runs" in problem.message
    assert "Periodic tasks" in problem.next_step
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("schedules", json=True, stdout=out)
    assert {job["name"]: job["missed"] for job in json.loads(out.getvalue())["jobs"]} == {"night": False, "odd": True}
    client = Client()
    client.force_login(portal.carol)
    page = client.get("/machinery/", secure=True)
    assert page.status_code == 200
    assert "is never due" in page.content.decode()
    assert Client().get("/readyz").json()["failed"]["schedules"] == "not run in time: odd"
    PeriodicTask.objects.filter(name="odd").delete()
    assert check(database_now()) == []


def test_schedule_that_has_ended_or_ends_before_its_next_run_is_no_nonsense(night: PeriodicTask) -> None:
    for ends in (NIGHT - DAY, NIGHT + timedelta(hours=1)):
        night.expires = ends
        assert next_after(night, NIGHT) is None
        assert not periods.is_nonsense(night, NIGHT)


@pytest.mark.parametrize("fields", [{"kwargs": "[]"}, {"args": "{}"}, {"headers": '"x"'}, {"args": "nonsense"}, {"queue": "nowhere"}])
def test_message_that_cannot_be_sent_fails_alone(fields: dict[str, Any], night: PeriodicTask) -> None:
    PeriodicTask.objects.create(name="odd", task="certs.tasks.sweep", **at())
    PeriodicTask.objects.filter(name="odd").update(**fields)
    known("odd", due_at=NIGHT)
    known("night", due_at=NIGHT + timedelta(seconds=1))
    assert "night" in send_due(NIGHT + timedelta(seconds=2))
    if "queue" not in fields:
        odd = ScheduledJob.objects.get(name="odd")
        assert (odd.result, odd.due_at) == ("failed", NIGHT + DAY)
        assert "not JSON" in odd.error


def test_task_whose_message_raises_fails_alone(night: PeriodicTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw, of one job: beat must not end with it."""
    PeriodicTask.objects.create(name="odd", task="certs.tasks.sweep", **at())
    known("odd", due_at=NIGHT)
    known("night", due_at=NIGHT + timedelta(seconds=1))
    send = app.send_task

    def failing(name: str, *args: Any, **options: Any) -> Any:
        if name == "certs.tasks.sweep":
            raise RuntimeError("hunter2")
        return send(name, *args, **options)

    monkeypatch.setattr(app, "send_task", failing)
    assert send_due(NIGHT + timedelta(seconds=2)) == ["night"]
    odd = ScheduledJob.objects.get(name="odd")
    assert (odd.result, odd.error.partition(";")[0]) == ("failed", "It could not be sent: RuntimeError")
    assert "hunter2" not in odd.error


def test_schedule_of_microseconds_that_was_off_for_a_day_stops_nothing(night: PeriodicTask) -> None:
    """The count of its missed runs is larger than the column that holds it."""
    PeriodicTask.objects.create(name="mad", task="certs.tasks.sweep", **every(1, "microseconds"))
    known("mad", due_at=NIGHT - DAY)
    known("night", due_at=NIGHT)
    assert sorted(send_due(NIGHT)) == ["mad", "night"]


def test_rule_longer_than_its_column_is_followed_and_a_change_of_its_end_is_seen(night: PeriodicTask) -> None:
    minutes, days = ",".join(map(str, range(60))), ",".join(map(str, range(1, 32)))
    long = PeriodicTask.objects.create(
        name="long", task="certs.tasks.sweep", **at(minute=minutes, hour=",".join(map(str, range(24))), day_of_month=days)
    )
    known("night", due_at=NIGHT)
    assert "night" in send_due(NIGHT)
    before = ScheduledJob.objects.get(name="long").rule
    assert len(before) <= 300
    assert long.crontab is not None
    long.crontab.day_of_week = "1"
    assert rule_of(long) != before


def test_missed_minutes_of_years_are_not_counted_one_by_one() -> None:
    task = PeriodicTask.objects.create(name="minute", task="certs.tasks.sweep", **at(minute="*", hour="*"))
    _, missed = last_period(task, NIGHT - 4000 * DAY, NIGHT)
    assert missed == periods.MOST_COUNTED
    known("minute", due_at=NIGHT - 40 * DAY)
    assert send_due(NIGHT) == ["minute"]
    assert ScheduledJob.objects.get(name="minute").due_at == NIGHT + timedelta(minutes=1)


def test_row_of_the_due_table_that_somebody_deleted_comes_back_and_nothing_runs_twice(night: PeriodicTask) -> None:
    known("night", due_at=NIGHT)
    PeriodicTask.objects.update(date_changed=NIGHT - 9 * DAY)
    assert send_due(NIGHT + timedelta(seconds=1)) == ["night"]
    ScheduledJob.objects.all().delete()
    assert send_due(NIGHT + timedelta(hours=5)) == []
    assert ScheduledJob.objects.get().due_at == NIGHT + DAY
