"""The due table: each period is sent once, runs once, and is caught up at any hour."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from celery import current_app
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from audit.log import Actor
from certs.models import BeatLease, OperatorAlert, ScheduledJob
from certs.schedules import claims, due, leader
from certs.schedules.due import send_due
from certs.schedules.periods import describe, next_after
from certs.schedules.setup import ensure_schedules, restore_schedules
from db.clock import database_now
from pkiportal.celery import app
from pkiportal.processes.beat import LeaderScheduler

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NIGHT = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIMIT = timedelta(minutes=5)
ACTOR = Actor("system", "test")


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    PeriodicTask.objects.all().delete()
    ScheduledJob.objects.all().delete()
    BeatLease.objects.all().delete()
    app.control.purge()
    yield
    app.control.purge()


def daily(name: str = "daily", *, hour: str = "2", zone: str = "UTC", **more: Any) -> PeriodicTask:
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="0", hour=hour, timezone=zone)
    return PeriodicTask.objects.create(name=name, task="certs.tasks.check_expiry", crontab=crontab, **more)


def often(name: str = "often", *, seconds: int = 5, **more: Any) -> PeriodicTask:
    interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
    return PeriodicTask.objects.create(name=name, task="audit.tasks.seal", interval=interval, **more)


@pytest.mark.parametrize(
    ("days", "words"), [("*", "every day at 09:05 UTC"), ("1", "every Monday at 09:05 UTC"), ("0", "every Sunday at 09:05 UTC")]
)
def test_schedule_with_one_time_of_day_is_described_in_words(days: str, words: str) -> None:
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="5", hour="9", day_of_week=days, timezone="UTC")
    assert describe(PeriodicTask(name="one", task="audit.tasks.seal", crontab=crontab)) == words


def job(name: str = "daily") -> ScheduledJob:
    return ScheduledJob.objects.get(name=name)


def known(name: str, **fields: Any) -> None:
    """Put what was recorded earlier into the due table."""
    due.follow_schedules({task.name: task for task in PeriodicTask.objects.all()}, NIGHT - DAY)
    ScheduledJob.objects.filter(name=name).update(**fields)


def waiting(queue: str) -> int:
    with current_app.connection_for_write() as connection, contextlib.suppress(*connection.channel_errors):
        return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    return 0


@pytest.mark.parametrize("hours", [0, 3, 6.5, 14, 21])
def test_a_missed_night_is_caught_up_at_any_hour(hours: float) -> None:
    """C1: the library loads a crontab entry only within two hours of its time."""
    daily()
    known("daily", due_at=NIGHT)
    now = NIGHT + timedelta(hours=hours)
    assert send_due(now) == ["daily"]
    assert send_due(now) == []
    assert (job().due_at, job().sent_period, waiting("workflow")) == (NIGHT + DAY, NIGHT, 1)


def test_many_missed_periods_become_one_run_and_are_counted() -> None:
    """C1: a machine that was off for eight days does not work for each of them."""
    daily()
    often(seconds=3600)
    known("daily", due_at=NIGHT)
    known("often", due_at=NIGHT)
    now = NIGHT + timedelta(days=8, minutes=30)
    assert sorted(send_due(now)) == ["daily", "often"]
    assert (job().sent_period, job().missed, job().due_at) == (NIGHT + 8 * DAY, 8, NIGHT + 9 * DAY)
    assert (job("often").sent_period, job("often").missed) == (NIGHT + 8 * DAY, 8 * 24)
    assert job("often").due_at == NIGHT + 8 * DAY + HOUR
    assert (waiting("workflow"), waiting("audit")) == (1, 1)


def test_the_night_missed_before_there_was_a_due_table_is_caught_up() -> None:
    """C1: an installation that was off during its upgrade."""
    daily(last_run_at=NIGHT - DAY)
    PeriodicTask.objects.update(date_changed=NIGHT - 5 * DAY)
    assert send_due(NIGHT + 9 * HOUR) == ["daily"]
    assert (job().sent_period, job().due_at) == (NIGHT, NIGHT + DAY)


def test_a_new_installation_has_missed_nothing() -> None:
    daily()
    PeriodicTask.objects.update(date_changed=NIGHT + HOUR)
    for _ in range(2):
        assert send_due(NIGHT + 9 * HOUR) == []
    assert job().due_at == NIGHT + DAY


@pytest.mark.parametrize("ahead", [DAY, 400 * DAY, 40_000 * DAY])
def test_times_in_the_future_are_not_believed(ahead: timedelta) -> None:
    """C2: a clock that was wrong for a moment must not stop a job, at beat or at the worker."""
    daily(last_run_at=NIGHT + ahead)
    often(last_run_at=NIGHT + ahead)
    future = {"due_at": NIGHT + ahead, "sent_period": NIGHT + ahead, "sent_at": NIGHT + ahead, "lease_until": NIGHT + ahead}
    for name in ("daily", "often"):
        known(name, **future, started_period=NIGHT + ahead, started_at=NIGHT + ahead, done_until=NIGHT + ahead)
    assert send_due(NIGHT - HOUR) == []
    assert (job().due_at, job("often").due_at) == (NIGHT, NIGHT - HOUR + timedelta(seconds=5))
    assert send_due(NIGHT + timedelta(seconds=1)) == ["often", "daily"]
    assert job().sent_period == NIGHT


def test_a_period_recorded_in_the_future_does_not_stop_the_worker() -> None:
    """C2"""
    daily()
    now = database_now()
    known("daily", started_period=now + 300 * DAY, run_id="wrong clock", done_until=now + 300 * DAY)
    assert claims.begin("daily", now, run_id="a", limit=LIMIT)
    claims.end("daily", now, run_id="a", error="")
    assert job().done_until == now


def test_a_period_begins_once_however_often_its_message_comes() -> None:
    daily()
    known("daily", sent_period=NIGHT)
    assert claims.begin("daily", NIGHT, run_id="a", limit=LIMIT)
    assert not claims.begin("daily", NIGHT, run_id="b", limit=LIMIT)
    assert claims.begin("daily", NIGHT, run_id="a", limit=LIMIT), "the broker delivers the message of a killed worker again"
    claims.end("daily", NIGHT, run_id="a", error="")
    for run in ("a", "b"):
        assert not claims.begin("daily", NIGHT, run_id=run, limit=LIMIT)
    assert not claims.begin("daily", NIGHT - DAY, run_id="late", limit=LIMIT)
    assert claims.begin("daily", NIGHT + DAY, run_id="next", limit=LIMIT)
    assert (job().result, job().done_until, job().finished_at, job().starts) == ("", NIGHT, None, 1)


def test_the_success_of_a_run_that_was_overtaken_counts() -> None:
    often()
    known("often", done_until=NIGHT - DAY)
    later = NIGHT + timedelta(seconds=15)
    assert claims.begin("often", NIGHT, run_id="a", limit=LIMIT)
    assert claims.begin("often", later, run_id="b", limit=LIMIT)
    claims.end("often", NIGHT, run_id="a", error="")
    assert (job("often").done_until, job("often").finished_at, job("often").run_id) == (NIGHT, None, "b")
    claims.end("often", later, run_id="b", error="OSError")
    assert (job("often").done_until, job("often").result, job("often").error) == (NIGHT, "failed", "OSError")


def test_a_message_that_was_lost_is_sent_again_and_one_that_waits_is_not_doubled() -> None:
    daily()
    known("daily", due_at=NIGHT)
    assert send_due(NIGHT) == ["daily"]
    app.control.purge()  # the broker came back empty
    assert send_due(NIGHT + timedelta(seconds=59)) == []
    assert send_due(NIGHT + timedelta(seconds=61)) == ["daily"]
    assert (waiting("workflow"), job().sent_period, job().due_at) == (1, NIGHT, NIGHT + DAY)


def test_a_run_that_broke_off_is_repeated_three_times_at_most() -> None:
    """What kills its worker each time must not kill one after the other until the next night."""
    daily()
    known("daily", due_at=NIGHT)
    sent = []
    for minute in range(120):
        now = NIGHT + timedelta(minutes=minute)
        if send_due(now):
            sent.append(minute)
            assert claims.begin("daily", NIGHT, run_id=f"run {minute}", limit=LIMIT)
            ScheduledJob.objects.update(started_at=now, lease_until=now + LIMIT)
    assert len(sent) == due.MOST_STARTS
    assert send_due(NIGHT + DAY) == ["daily"]


def test_a_run_that_failed_is_repeated_after_a_pause() -> None:
    daily()
    known("daily", due_at=NIGHT)
    send_due(NIGHT)
    claims.begin("daily", NIGHT, run_id="a", limit=LIMIT)
    claims.end("daily", NIGHT, run_id="a", error="OSError")
    ScheduledJob.objects.update(finished_at=NIGHT + timedelta(minutes=1))
    assert send_due(NIGHT + timedelta(minutes=10)) == []
    assert send_due(NIGHT + timedelta(minutes=11)) == ["daily"]
    assert send_due(NIGHT + timedelta(minutes=11, seconds=1)) == []
    assert claims.begin("daily", NIGHT, run_id="b", limit=LIMIT)
    claims.end("daily", NIGHT, run_id="b", error="")
    assert (job().result, job().error, job().starts, job().done_until) == ("succeeded", "", 2, NIGHT)


def test_a_frequent_job_waits_for_its_last_run_but_not_for_long() -> None:
    """A worker that was killed with the sweeper's run must not stop the sweeper."""
    often()
    known("often", due_at=NIGHT)
    sent = [second for second in range(31) if send_due(NIGHT + timedelta(seconds=second))]
    assert sent == [0, 10, 20, 30]
    claims.begin("often", job("often").sent_period or NIGHT, run_id="a", limit=LIMIT)
    claims.end("often", job("often").sent_period or NIGHT, run_id="a", error="")
    sent = [second for second in range(31, 37) if send_due(NIGHT + timedelta(seconds=second))]
    assert sent[0] <= 35


def test_frequent_jobs_do_not_pile_up_while_workers_are_away_but_daily_ones_are_sent(settings: Any) -> None:
    settings.PKI_SWEEP_QUEUE_MOST = 5
    often()
    daily()
    known("often", due_at=NIGHT)
    known("daily", due_at=NIGHT)
    for second in range(0, 3600, 5):
        send_due(NIGHT + timedelta(seconds=second))
    assert waiting("audit") == 5
    assert waiting("workflow") == 60  # each is refused at once but the first


def test_a_broker_that_is_down_loses_no_period(settings: Any) -> None:
    daily()
    daily("second", hour="1")
    known("daily", due_at=NIGHT)
    known("second", due_at=NIGHT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.conf, "broker_url", "redis://127.0.0.1:1/0")
        patch.setattr(app, "_pool", None)
        patch.setattr(app.amqp, "_producer_pool", None)
        assert send_due(NIGHT) == []
        app.pool.force_close_all()
        patch.setattr(app, "_pool", None)
        patch.setattr(app.amqp, "_producer_pool", None)
    assert sorted(send_due(NIGHT + timedelta(seconds=61)) + send_due(NIGHT + timedelta(seconds=62))) == ["daily", "second"]


def test_switched_off_deleted_and_changed_schedules_are_followed() -> None:
    task = daily()
    known("daily", due_at=NIGHT)
    PeriodicTask.objects.update(enabled=False)
    assert send_due(NIGHT + HOUR) == []
    assert job().due_at is None
    PeriodicTask.objects.update(enabled=True)
    assert send_due(NIGHT + 3 * HOUR) == [], "what was switched off was not missed"
    assert (job().due_at, job().done_until) == (NIGHT + DAY, NIGHT + 3 * HOUR)
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="0", hour="5", timezone="UTC")
    task.crontab = crontab
    task.save()
    assert send_due(NIGHT + 4 * HOUR - timedelta(minutes=30)) == []
    assert job().due_at == NIGHT + 3 * HOUR + DAY or job().due_at == NIGHT.replace(hour=5) + DAY
    task.delete()
    send_due(NIGHT + 5 * HOUR)
    assert job().due_at is None


def test_options_of_a_schedule_go_with_its_message(settings: Any) -> None:
    often(seconds=120, queue="inventory", kwargs='{"a": 1}', headers='{"x": "y"}')
    known("often", due_at=NIGHT)
    assert send_due(NIGHT) == ["often"]
    if not settings.CELERY_BROKER_URL.startswith("redis"):
        assert waiting("inventory") == 1
        return
    with current_app.connection_for_write() as connection:
        message = connection.SimpleQueue("inventory").get_nowait()
        message.ack()
    assert message.payload[1] == {"a": 1}
    assert {"x": "y", "periodic_task_name": "often", "portal_period": NIGHT.isoformat()}.items() <= message.headers.items()


def test_arguments_that_are_no_json_are_a_failed_run_and_hold_up_no_other_job() -> None:
    often(seconds=120)
    PeriodicTask.objects.update(args="[")
    daily()
    known("often", due_at=NIGHT)
    known("daily", due_at=NIGHT)
    send_due(NIGHT)
    assert waiting("workflow") == 1
    assert job("often").result == "failed"
    assert "not JSON" in job("often").error


def test_a_schedule_that_runs_once_is_switched_off_after_it() -> None:
    clocked = ClockedSchedule.objects.create(clocked_time=NIGHT)
    PeriodicTask.objects.create(name="once", task="certs.tasks.sweep", clocked=clocked, one_off=True)
    due.follow_schedules({task.name: task for task in PeriodicTask.objects.all()}, NIGHT - DAY)
    assert send_due(NIGHT - HOUR) == []
    assert send_due(NIGHT + HOUR) == ["once"]
    assert not PeriodicTask.objects.get().enabled
    assert send_due(NIGHT + 2 * HOUR) == []


def test_a_deleted_schedule_stays_deleted_until_it_is_restored(settings: Any) -> None:
    """C4"""
    now = database_now()
    every = {*settings.PKI_SCHEDULES, *settings.PKI_CRONTABS}
    assert set(ensure_schedules(actor=ACTOR, now=now)) == every
    gone = "certificates: renew what is due"
    PeriodicTask.objects.get(name=gone).delete()
    assert ensure_schedules(actor=ACTOR, now=now) == []
    assert not PeriodicTask.objects.filter(name=gone).exists()
    assert restore_schedules(actor=ACTOR) == [gone]
    send_due(now)
    assert job(gone).due_at is not None
    OperatorAlert.objects.all().delete()


def test_every_schedule_is_explained_to_operators(settings: Any) -> None:
    guide = (settings.BASE_DIR / "docs" / "operations" / "schedules.md").read_text()
    assert [name for name in {**settings.PKI_SCHEDULES, **settings.PKI_CRONTABS} if f"| {name} |" not in guide] == []


def test_times_in_the_guide_are_those_of_the_schedules(settings: Any) -> None:
    """Expiry at 02:00, report on Monday at 09:00, in UTC."""
    rows = dict(
        re.findall(r"^\| ([a-zA-Z:, -]+?) \| ([^|]+?) \|", (settings.BASE_DIR / "docs/operations/schedules.md").read_text(), re.MULTILINE)
    )
    for name, entry in settings.PKI_CRONTABS.items():
        at = entry["crontab"]
        time = f"{int(at['hour']):02}:{int(at['minute']):02}"
        assert rows[name] == (f"Monday {time}" if at.get("day_of_week") == "1" else time)
    assert rows["certificates: renew what is due"] == "02:00"
    assert rows["reports: weekly compliance report"] == "Monday 09:00"
    units = {5: "5 s", 10: "10 s", 15: "15 s", 60: "minute", 300: "5 min", 900: "15 min", 3600: "hour"}
    for name, entry in settings.PKI_SCHEDULES.items():
        assert rows[name] == f"every {units[entry['every_seconds']]}", name
    assert settings.CELERY_TIMEZONE == settings.TIME_ZONE == "UTC"


def test_every_schedule_has_a_task_that_workers_know(settings: Any) -> None:
    """A message with an unknown name is dropped by the worker without a run."""
    entries: list[Any] = [*settings.PKI_SCHEDULES.values(), *settings.PKI_CRONTABS.values()]
    for entry in entries:
        import_module(entry["task"].rpartition(".")[0])
    assert [entry["task"] for entry in entries if entry["task"] not in app.tasks] == []


def test_a_schedule_deleted_before_beat_ever_ran_stays_deleted(settings: Any) -> None:
    """C4"""
    ensure_schedules(actor=ACTOR, now=database_now())
    PeriodicTask.objects.all().delete()
    assert ensure_schedules(actor=ACTOR, now=database_now()) == []


def test_a_time_of_day_is_meant_in_the_zone_of_its_schedule() -> None:
    berlin = daily(hour="3", zone="Europe/Berlin")
    assert next_after(berlin, datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 1, tzinfo=UTC)
    assert next_after(berlin, datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2026, 12, 1, 2, tzinfo=UTC)
    assert next_after(berlin, datetime(2026, 10, 24, 12, tzinfo=UTC)) == datetime(2026, 10, 25, 2, tzinfo=UTC)
    assert next_after(berlin, datetime(2027, 3, 27, 12, tzinfo=UTC)) == datetime(2027, 3, 28, 1, tzinfo=UTC)


def test_one_beat_leads_and_another_takes_over_when_no_sign_of_life_comes() -> None:
    """F11: whether the first was killed or only stopped does not matter."""
    first, second = LeaderScheduler(app=app, lazy=True), LeaderScheduler(app=app, lazy=True)
    assert leader.lead(first.holder)
    assert not leader.lead(second.holder)
    since = BeatLease.objects.get().since
    assert leader.lead(first.holder)
    assert BeatLease.objects.get().since == since
    BeatLease.objects.update(until=database_now() - timedelta(milliseconds=1))
    assert leader.lead(second.holder)
    assert not leader.lead(first.holder), "it wakes up and leads no more"
    second.close()
    assert leader.lead(first.holder), "a beat that ends in good order hands over at once"


def test_a_lease_that_ends_in_the_future_is_not_believed() -> None:
    """C2"""
    assert leader.lead("a")
    BeatLease.objects.update(until=database_now() + 300 * DAY)
    assert leader.lead("b")


def test_a_beat_that_wakes_up_between_its_claim_and_its_message_runs_nothing_twice() -> None:
    daily()
    known("daily", due_at=NIGHT)
    assert send_due(NIGHT) == ["daily"]  # the message of this one comes late
    assert send_due(NIGHT + timedelta(seconds=61)) == ["daily"]  # of the one that took over
    begun = [claims.begin("daily", NIGHT, run_id=run, limit=LIMIT) for run in ("second", "first")]
    assert begun == [True, False]


def test_messages_say_when_they_were_published() -> None:
    with current_app.connection_for_write() as connection:
        current_app.send_task("certs.tasks.sweep", queue="inventory")
        message = connection.SimpleQueue("inventory").get_nowait()
        message.ack()
    assert json.dumps(message.headers["published_at"])
