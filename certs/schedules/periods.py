"""When a schedule is due: the periods of a django-celery-beat row, computed from any moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django_celery_beat.models import PeriodicTask

# A job that runs at least this often is not repeated when a run fails: its next period comes soon.
FREQUENT = timedelta(seconds=60)


def next_after(task: PeriodicTask, moment: datetime) -> datetime | None:
    """Return the first period that begins after `moment`; None for a schedule that has no more.

    The library itself computes a crontab from its own clock and loads it only within two hours of
    its time of day, so that a missed day is not caught up. Here `moment` decides alone.
    Schedules by the sun need a library that the portal does not ship: they have no period.
    """
    if task.interval is not None:
        found = moment + task.interval.schedule.run_every
    elif task.crontab is not None:
        last, delta, _now = task.crontab.schedule.remaining_delta(moment)
        found = (last + delta).astimezone(UTC)
    elif task.clocked is not None and task.clocked.clocked_time > moment:
        found = task.clocked.clocked_time
    else:
        return None
    if task.start_time is not None:
        found = max(found, task.start_time)
    return None if task.expires is not None and found >= task.expires else found


def first_due(task: PeriodicTask, now: datetime) -> datetime | None:
    """Return when a schedule is due that was made, changed or switched on just now."""
    following = next_after(task, now)
    if following is None or task.interval is None:
        return following
    return max(now, task.start_time) if task.start_time is not None else now


def describe(task: PeriodicTask) -> str:
    """Return the schedule in words."""
    if task.interval is not None:
        return _every(int(task.interval.schedule.run_every.total_seconds()))
    cron = task.crontab
    if cron is None:
        return rule_of(task)
    every_day = (cron.day_of_month, cron.month_of_year, cron.day_of_week) == ("*", "*", "*")
    if every_day and cron.hour.isdigit() and cron.minute.isdigit():
        return f"every day at {int(cron.hour):02}:{int(cron.minute):02} {cron.timezone}"
    text = str(cron.human_readable)
    return text[:1].lower() + text[1:]


def _every(seconds: int) -> str:
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"every {unit}" if count == 1 else f"every {count} {unit}s"
    return "every second" if seconds == 1 else f"every {seconds} seconds"


def rule_of(task: PeriodicTask) -> str:
    """Return the schedule as text that is compared to find out that it was changed."""
    if task.interval is not None:
        rule = str(task.interval)
    elif task.crontab is not None:
        cron = task.crontab
        fields = (cron.minute, cron.hour, cron.day_of_month, cron.month_of_year, cron.day_of_week)
        rule = f"{' '.join(fields)} {cron.timezone}"
    elif task.clocked is not None:
        rule = f"once at {task.clocked.clocked_time:%Y-%m-%d %H:%M} UTC"
    else:
        rule = "by the sun (not supported)"
    return rule


def is_frequent(task: PeriodicTask) -> bool:
    """Return whether the job runs at least once a minute."""
    return task.interval is not None and task.interval.schedule.run_every <= FREQUENT


def last_period(task: PeriodicTask, due_at: datetime, now: datetime) -> tuple[datetime, int]:
    """Return the newest period from `due_at` on that has begun, and how many before it were missed."""
    if task.interval is not None:
        every: timedelta = task.interval.schedule.run_every
        missed = int((now - due_at) / every)
        return due_at + missed * every, missed
    missed, period = 0, due_at
    while (following := next_after(task, period)) is not None and following <= now:
        period, missed = following, missed + 1
    return period, missed
