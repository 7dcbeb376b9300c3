"""When a schedule is due: the periods of a django-celery-beat row, computed from any moment."""

from __future__ import annotations

import calendar
import hashlib
from datetime import UTC, datetime, timedelta

from celery.schedules import ParseException
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from certs.models import ScheduledJob
from certs.models.schedule import pause_of

# A job that runs at least this often is not repeated when a run fails: its next period comes soon.
FREQUENT = timedelta(seconds=60)
MOST_COUNTED = 10_000  # missed periods of a crontab, which are found one by one
_LONGEST_RULE = ScheduledJob._meta.get_field("rule").max_length or 0


def next_after(task: PeriodicTask, moment: datetime) -> datetime | None:
    """Return the first period that begins after `moment`; None for a schedule that has no more, or never had one.

    The admin takes a 31 February and a pause of a million years. Such a schedule is never due, and
    holds up no other (`is_nonsense`).

    The library itself computes a crontab from its own clock and loads it only within two hours of
    its time of day, so that a missed day is not caught up. Here `moment` decides alone.
    Schedules by the sun need a library that the portal does not ship: they have no period.
    """
    found = _following(task, moment)
    if found is None:
        return None
    if task.start_time is not None:
        found = max(found, task.start_time)
    return None if task.expires is not None and found >= task.expires else found


def _following(task: PeriodicTask, moment: datetime) -> datetime | None:
    """Return the same whenever the schedule begins and ends."""
    if task.interval is not None:
        pause = pause_of(task.interval)
        return moment + pause if pause is not None else None
    if task.crontab is not None:
        return _next_of(task.crontab, moment)
    if task.clocked is not None and task.clocked.clocked_time > moment:
        at: datetime = task.clocked.clocked_time
        return at
    return None


def _next_of(crontab: CrontabSchedule, moment: datetime) -> datetime | None:
    try:
        last, delta, _now = crontab.schedule.remaining_delta(moment)
        found: datetime = (last + delta).astimezone(UTC)
    except (ParseException, ValueError, RuntimeError, OverflowError):
        # Celery gives a day that no month has up with a RuntimeError, after some thousand trials.
        return None
    return found


def is_nonsense(task: PeriodicTask, now: datetime) -> bool:
    """Return whether the schedule is on, has not ended, and names no time that ever comes."""
    ended = task.expires is not None and task.expires <= now
    return bool(task.enabled) and not ended and task.clocked is None and _following(task, now) is None


def first_due(task: PeriodicTask, now: datetime) -> datetime | None:
    """Return when a schedule is due that was made, changed or switched on just now."""
    following = next_after(task, now)
    if following is None or task.interval is None:
        return following
    return max(now, task.start_time) if task.start_time is not None else now


def describe(task: PeriodicTask) -> str:
    """Return the schedule in words."""
    if task.interval is not None:
        pause = pause_of(task.interval)
        return _every(int(pause.total_seconds())) if pause is not None and pause >= timedelta(seconds=1) else rule_of(task)
    cron = task.crontab
    if cron is None:
        return rule_of(task)
    has_one_time = cron.hour.isdigit() and cron.minute.isdigit()
    if has_one_time and (cron.day_of_month, cron.month_of_year) == ("*", "*") and (cron.day_of_week == "*" or cron.day_of_week.isdigit()):
        day = "day" if cron.day_of_week == "*" else calendar.day_name[(int(cron.day_of_week) - 1) % 7]  # cron counts from Sunday
        return f"every {day} at {int(cron.hour):02}:{int(cron.minute):02} {cron.timezone}"
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
    if len(rule) <= _LONGEST_RULE:
        return rule
    digest = hashlib.sha256(rule.encode()).hexdigest()  # still another for another schedule
    return f"{rule[: _LONGEST_RULE - len(digest) - 1]} {digest}"


def is_frequent(task: PeriodicTask) -> bool:
    """Return whether the job runs at least once a minute."""
    pause = pause_of(task.interval) if task.interval is not None else None
    return pause is not None and pause <= FREQUENT


def last_period(task: PeriodicTask, due_at: datetime, now: datetime) -> tuple[datetime, int]:
    """Return the newest period from `due_at` on that has begun, and how many before it were missed.

    Of more than MOST_COUNTED missed periods at a time of day, the one where the count ended.
    """
    every = pause_of(task.interval) if task.interval is not None else None
    if every is not None:
        missed = int((now - due_at) / every)
        return due_at + missed * every, missed
    missed, period = 0, due_at
    while missed < MOST_COUNTED and (following := next_after(task, period)) is not None and following <= now:
        period, missed = following, missed + 1
    return period, missed
