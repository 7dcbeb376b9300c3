"""The due table: what is due is sent once for each period, by whichever beat comes first.

A row of `PeriodicTask` holds how often a job runs (editable in the admin), its `ScheduledJob` when
it is due next. A compare-and-set on `due_at` claims a period before its message is published, and
`runs.begin` claims it again where the message arrives. So two beats, a beat that wakes up late, and
a message that comes twice run a period once; a message that was lost is sent again.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models import F
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError

from audit.changes import attribute
from audit.log import Actor
from certs.alone import DATABASE_AWAY, Alone
from certs.models import ScheduledJob
from certs.models.schedule import pause_of
from certs.pipeline import room_in
from certs.schedules.periods import first_due, is_frequent, last_period, next_after, rule_of

log = logging.getLogger(__name__)

# A message that no worker began for so long was lost, or its workers are away: it is sent again.
RESEND_AFTER = timedelta(seconds=60)
RETRY_AFTER = timedelta(minutes=10)
MOST_STARTS = 3  # runs of one period: what kills its worker each time is left until the next period
LONGEST_LEASE = timedelta(hours=6)
LEAST_PAUSE = timedelta(seconds=10)
_MOST_MISSED = 2**31 - 1  # that the column holds: a schedule of microseconds gets there in an hour
BEAT = Actor("system", "beat")

PERIOD_HEADER = "portal_period"
NAME_HEADER = "periodic_task_name"  # as django-celery-beat calls it


def send_due(now: datetime) -> list[str]:
    """Send every job that is due. Returns the names of those that were sent.

    Effects: rows of `ScheduledJob` follow the schedules (new, changed, off), one message for each
    period that is due; several missed periods become one run. An unreachable broker ends the call:
    what was claimed and not published is sent again after RESEND_AFTER. A job that cannot be sent for
    another reason is a failed run and holds up no other. Raises database errors only.
    """
    tasks = {task.name: task for task in _enabled()}
    follow_schedules(tasks, now)
    sent: list[str] = []
    for job in ScheduledJob.objects.filter(name__in=tasks).order_by("due_at", "pk"):
        with Alone() as outcome:
            if _send(job, tasks[job.name], now):
                sent.append(job.name)
        error = outcome.error
        if isinstance(error, DATABASE_AWAY):
            raise error
        if isinstance(error, OperationalError | OSError):
            log.warning("broker unreachable, %s is sent again later: %s", job.name, error)
            break
        if error is not None:
            log.error("%s could not be sent", job.name, exc_info=error)
            _refuse(job.name, f"It could not be sent: {type(error).__name__}; the log of beat has the traceback.", now)
    return sent


def _send(job: ScheduledJob, task: PeriodicTask, now: datetime) -> bool:
    """Claim what is due of one job and send it. Returns whether there was anything to send."""
    period = _claim(job, task, now)
    if period is not None:
        _publish(task, period, now)
    return period is not None


def _enabled() -> list[PeriodicTask]:
    related = ("interval", "crontab", "clocked")
    return list(PeriodicTask.objects.filter(enabled=True).select_related(*related))


def follow_schedules(tasks: dict[str, PeriodicTask], now: datetime) -> None:
    """Bring the due table up to date with the schedules: rows for new ones, new times for changed ones."""
    jobs = {job.name: job for job in ScheduledJob.objects.all()}
    for name, task in tasks.items():
        if name not in jobs:
            add_job(task, now)
        else:
            _follow(jobs[name], task, now)
    off = [job.pk for name, job in jobs.items() if name not in tasks and job.due_at is not None]
    if off:
        ScheduledJob.objects.filter(pk__in=off).update(due_at=None)


def add_job(task: PeriodicTask, now: datetime) -> None:
    """Put a schedule into the due table, unless it is there.

    A job at a time of day counts from its last run before there was a due table, so that a missed
    day is caught up. A recorded time in the future is not trusted.
    """
    known = [at for at in (task.last_run_at, task.date_changed) if at is not None and at <= now]
    since = max(known, default=now) if task.crontab is not None else now
    due = next_after(task, since) if task.crontab is not None else first_due(task, now)
    job = ScheduledJob(name=task.name, task=task.task, rule=rule_of(task), due_at=due, done_until=since)
    ScheduledJob.objects.bulk_create([job], ignore_conflicts=True)


def _follow(job: ScheduledJob, task: PeriodicTask, now: datetime) -> None:
    latest = next_after(task, now)
    ended = task.expires is not None and task.expires <= now
    changed: dict[str, Any] = {}
    if job.rule != (rule := rule_of(task)) or (job.due_at is None and latest is not None):
        # Changed or switched on: what was not run while it was off is not missed.
        changed = {"rule": rule, "due_at": first_due(task, now), "done_until": now}
    elif job.due_at is not None and (ended or (job.due_at > now and (latest is None or job.due_at > latest))):
        changed = {"due_at": latest}  # written under a clock that was wrong, or the schedule has ended
    if job.sent_period is not None and job.sent_period > now:
        changed |= {"sent_period": None, "sent_at": None, "lease_until": None}
    if job.done_until > now:
        changed["done_until"] = now
    if job.task != task.task:
        changed["task"] = task.task
    if changed and ScheduledJob.objects.filter(pk=job.pk, due_at=job.due_at).update(**changed):
        for name, value in changed.items():
            setattr(job, name, value)


def _claim(job: ScheduledJob, task: PeriodicTask, now: datetime) -> datetime | None:
    """Claim the period to send now; None when nothing is due or another beat was first."""
    rows = ScheduledJob.objects.filter(pk=job.pk, due_at=job.due_at, lease_until=job.lease_until)
    if job.due_at is not None and job.due_at <= now and not _in_flight(job, task, now):
        period, missed = last_period(task, job.due_at, now)
        gap = {"missed": min(missed, _MOST_MISSED), "missed_at": now} if missed and now - job.due_at > RESEND_AFTER else {}
        claimed = rows.update(
            due_at=next_after(task, now if task.interval is None else period),
            sent_period=period,
            sent_at=now,
            lease_until=now + RESEND_AFTER,
            **gap,
        )
        return period if claimed else None
    if not _to_repeat(job, task, now):
        return None
    # Without a run id the period is free again for the message that is sent now.
    claimed = rows.update(sent_at=now, lease_until=now + RESEND_AFTER, run_id="", finished_at=None)
    return job.sent_period if claimed else None


def _is_over(job: ScheduledJob) -> bool:
    return job.started_period == job.sent_period and job.finished_at is not None


def _in_flight(job: ScheduledJob, task: PeriodicTask, now: datetime) -> bool:
    """Return whether the last message, or its run, has not ended. Times in the future are not trusted."""
    if job.sent_period is None or _is_over(job):
        return False
    if is_frequent(task):
        # No longer than that: a worker that was killed with it must not hold the job up.
        pause = max(LEAST_PAUSE, pause_of(task.interval) or LEAST_PAUSE)
        begun = max(at for at in (job.sent_at, job.started_at) if at is not None)
        return bool(timedelta(0) <= now - begun < pause)
    return job.lease_until is not None and now < job.lease_until <= now + LONGEST_LEASE


def _to_repeat(job: ScheduledJob, task: PeriodicTask, now: datetime) -> bool:
    """Return whether the same period is sent again: its message or its run was lost, or it failed."""
    if job.due_at is None or job.sent_period is None or is_frequent(task) or _in_flight(job, task, now):
        return False
    if job.started_period != job.sent_period:
        return True
    if job.starts >= MOST_STARTS:
        return False
    failed = job.result == ScheduledJob.Result.FAILED and job.finished_at is not None
    return job.finished_at is None or (failed and now - job.finished_at >= RETRY_AFTER)


def _publish(task: PeriodicTask, period: datetime, now: datetime) -> None:
    options = {name: getattr(task, name) for name in ("queue", "exchange", "routing_key", "priority")}
    options = {name: value for name, value in options.items() if value not in {None, ""}}
    try:
        args, kwargs, headers = (json.loads(text) for text in (task.args, task.kwargs, task.headers))
    except ValueError:
        args = kwargs = headers = None
    if not (isinstance(args, list) and isinstance(kwargs, dict) and isinstance(headers, dict)):
        error = (
            "The arguments of this schedule are not JSON, or not a list and two objects. Correct them in the admin, under Periodic tasks."
        )
        _refuse(task.name, error, now)
        return
    if is_frequent(task) and not room_in(_queue_of(task)):
        return  # what waits there does the same
    headers |= {NAME_HEADER: task.name, PERIOD_HEADER: period.isoformat()}
    current_app.send_task(task.task, args=args, kwargs=kwargs, headers=headers, expires=task.expire_seconds, retry=False, **options)
    # For the admin's list only. An UPDATE, because a save would be an edit of the schedule.
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=now, total_run_count=F("total_run_count") + 1)
    if task.one_off:
        with transaction.atomic():
            task.enabled = False
            attribute(task, BEAT)
            task.save()


def _queue_of(task: PeriodicTask) -> str:
    if task.queue:
        return str(task.queue)
    queue = current_app.amqp.router.route({}, task.task).get("queue")
    return str(getattr(queue, "name", current_app.conf.task_default_queue))


def _refuse(name: str, error: str, now: datetime) -> None:
    """Record a period that cannot be sent as a run that failed, and leave it until the next."""
    ScheduledJob.objects.filter(name=name).update(
        started_period=F("sent_period"),
        started_at=now,
        finished_at=now,
        starts=MOST_STARTS,
        lease_until=None,
        result=ScheduledJob.Result.FAILED,
        error=error,
    )
