"""The missed-run alarm: web processes watch what runs on schedules, queues and workers.

It depends on nothing that it watches: no beat, no queue, no worker. Each web process checks; one
open alert for a cause (`alert_open_once`) and a lease on each of its mails decide which process
sends them, straight to the mail server. A mail that could not be sent is tried again by whichever
process comes next. Without the database there is nothing to check: `/readyz` is 503.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from certs.enums import AlertKind
from certs.models import BeatLease, OperatorAlert
from certs.notifications.alerts import REOPEN, close_alerts, open_alert, raise_alert
from certs.notifications.delivery.mail import send_at_once
from certs.schedules.leader import ONLY_ROW
from certs.schedules.machinery import UNSEALED_AFTER, JobState, JobStatus, Machinery, machinery

KINDS = (
    AlertKind.BEAT_DEAD,
    AlertKind.JOB_MISSED,
    AlertKind.QUEUE_STUCK,
    AlertKind.REQUEST_STUCK,
    AlertKind.AUDIT_UNSEALED,
)

SEEN_EVERY = timedelta(minutes=1)  # every process looks every few seconds; an open alert is counted up once a minute


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a person must look at. `kind` and `cause` are those of its alert."""

    kind: AlertKind
    cause: str
    message: str
    next_step: str


def check(now: datetime) -> list[Problem]:
    """Look at the machinery, open and close its alerts, and send the mails that are due.

    Effects: rows of `OperatorAlert` and `OutgoingMail`, in a transaction of their own; then, outside
    it, mails. Raises database errors only.
    """
    _first_sign_of_life(now)
    found = machinery(now)
    problems = list(find_problems(found))
    with transaction.atomic():
        for problem in problems:
            _raise(problem, now)
        _close_others(problems, now, queues_known=found.queues is not None)
    alerts = OperatorAlert.objects.filter(kind__in=KINDS, closed_at=None)
    send_at_once([f"alert:{pk}" for pk in alerts.values_list("pk", flat=True)])
    return problems


def find_problems(found: Machinery) -> Iterable[Problem]:
    """Return what is wrong. What follows from a dead beat or a stuck queue is not named beside it."""
    now = found.now
    if found.beat.dead and found.beat.silent_since is not None:
        yield Problem(
            AlertKind.BEAT_DEAD,
            "beat",
            f"Beat has given no sign of life since {found.beat.silent_since:%d %b %Y %H:%M:%S} UTC, so nothing that runs on a schedule"
            f" runs: renewals, CRLs, the audit log's seal, mails.",
            f"Start beat again (`celery -A pkiportal beat`, or the service `beat`) and look at its log on {found.beat.host or 'its host'}."
            " What was missed is caught up within minutes.",
        )
    stuck = found.stuck_queues
    for queue in stuck:
        last = f"since {queue.finished_at:%d %b %Y %H:%M:%S} UTC" if queue.finished_at else "yet"
        yield Problem(
            AlertKind.QUEUE_STUCK,
            f"queue:{queue.name}",
            f"{queue.length} message(s) wait in the queue {queue.name}, the oldest since {queue.oldest_at:%H:%M:%S} UTC,"
            f" and no worker has finished anything from there {last}.",
            f"Is a worker of the queue {queue.name} running? Restart it, and look at its log for errors of the broker,"
            " the database or Vault.",
        )
    if not found.beat.dead and not stuck:
        for job in found.missed_jobs:
            yield _missed(job)
    waiting = found.stuck_requests
    if waiting.count and waiting.oldest_at is not None and not stuck:
        yield Problem(
            AlertKind.REQUEST_STUCK,
            "requests",
            f"{waiting.count} request(s) do not move and wait for nothing that is known, the oldest since"
            f" {waiting.oldest_at:%d %b %Y %H:%M:%S} UTC.",
            "Open the oldest of the unfinished requests to see its step, and look at the log of the workers of that queue.",
        )
    oldest = found.unsealed_events.oldest_at
    if oldest is not None and now - oldest > UNSEALED_AFTER:
        newest = found.newest_checkpoint_at
        sealed = f"The newest checkpoint is of {newest:%d %b %Y %H:%M:%S} UTC." if newest else "It was never sealed."
        yield Problem(
            AlertKind.AUDIT_UNSEALED,
            "audit",
            f"The audit log is not sealed: {found.unsealed_events.count} event(s) wait, the oldest since"
            f" {oldest:%d %b %Y %H:%M:%S} UTC. {sealed}",
            "Look at the log of the worker of the queue `audit`: its sealing key, its disk and its sinks."
            " Events are kept, and issuance goes on.",
        )


def _missed(job: JobStatus) -> Problem:
    if job.state is JobState.NONSENSE:
        return Problem(
            AlertKind.JOB_MISSED,
            f"job:{job.name}"[:128],
            f"The job “{job.name}” never runs: its schedule ({job.rule[:100]}) names no time that ever comes.",
            "Correct it in the admin, under Periodic tasks. The audit log shows who changed it.",
        )
    expected = f"{job.expected_at:%d %b %Y %H:%M} UTC" if job.expected_at else "its time"
    last = f"The last run began {job.started_at:%d %b %Y %H:%M} UTC and ended as: {job.state}." if job.started_at else "It has never run."
    return Problem(
        AlertKind.JOB_MISSED,
        f"job:{job.name}"[:128],
        f"The job “{job.name}” should have run at {expected} and has not succeeded since. {last} {job.error}".strip(),
        f"Look at the log of the worker that runs {job.task}. The job is tried again automatically; /machinery/ shows each run.",
    )


def _first_sign_of_life(now: datetime) -> None:
    """Begin the time until a beat is missed, where no beat ever led."""
    if not BeatLease.objects.filter(pk=ONLY_ROW).exists():
        BeatLease.objects.bulk_create([BeatLease(pk=ONLY_ROW, holder="", host="", since=now, until=now)], ignore_conflicts=True)


def _raise(problem: Problem, now: datetime) -> None:
    """Open the alert with its mails, or count up the open one. Needs an open transaction.

    A person who closed the alert has some minutes before it comes back.
    """
    known = open_alert(problem.kind, problem.cause)
    if known is not None and now - known.last_seen_at < SEEN_EVERY:
        return
    by_hand = OperatorAlert.objects.filter(closed_by__isnull=False, closed_at__gt=now - REOPEN)
    if by_hand.filter(kind=problem.kind, cause=problem.cause).exists():
        return
    raise_alert(kind=problem.kind, cause=problem.cause, message=problem.message, next_step=problem.next_step, now=now)


def _close_others(problems: Iterable[Problem], now: datetime, *, queues_known: bool) -> None:
    """Close what is over. What cannot be seen while the broker is away stays open."""
    current = {(problem.kind, problem.cause) for problem in problems}
    kinds = [kind for kind in KINDS if queues_known or kind != AlertKind.QUEUE_STUCK]
    for kind, cause in OperatorAlert.objects.filter(kind__in=kinds, closed_at=None).values_list("kind", "cause"):
        if (kind, cause) not in current:
            close_alerts(kind=AlertKind(kind), cause=cause, now=now)
