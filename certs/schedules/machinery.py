"""The state of what runs unattended: beat, jobs, queues, CAs that are stopped, mails and requests that wait.

One reading for the page `/machinery/`, `manage.py schedules`, `/readyz`, `/metrics` and the alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet
from django_celery_beat.models import PeriodicTask

from audit.models import AuditEvent, AuditUnsealed, Checkpoint
from certs.enums import Channel
from certs.models import Attempt, BeatLease, CertificateRequest, Issuer, ScheduledJob
from certs.notifications.delivery.mail import waiting as waiting_mails
from certs.renewal.budget import EVERY
from certs.requests.states import UNFINISHED
from certs.requests.waiting_reasons import WAITS_FOR_WORKER
from certs.schedules.leader import ONLY_ROW
from certs.schedules.periods import describe, is_nonsense, next_after
from certs.schedules.queues import BrokerUnreachable, QueueState, queue_states
from db.sql import among

BEAT_DEAD_AFTER = timedelta(seconds=60)
JOB_LATE_AFTER = timedelta(minutes=5)  # also the time in which a beat that returned catches up
QUEUE_STUCK_AFTER = timedelta(seconds=60)
# Workers look at these queues last: what waits there waits for everything else.
BULK_QUEUE_STUCK_AFTER = timedelta(minutes=10)
REQUEST_STUCK_AFTER = timedelta(seconds=60)
RENEWAL_STUCK_AFTER = 2 * EVERY
UNSEALED_AFTER = timedelta(minutes=2)
_FIRST_UNSEALED = 100
NEVER_DUE = "Its schedule names no time that ever comes. Correct it in the admin, under Periodic tasks."


class JobState(StrEnum):
    """How a job's last run went."""

    SUCCEEDED = "succeeded"
    RUNNING = "running"
    FAILED = "failed"
    BROKE_OFF = "did not finish"
    WAITING = "waits for a worker"
    NEVER = "has not run yet"
    NONSENSE = "is never due"
    OFF = "switched off"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job. `missed`: no run has succeeded in the period that should have begun at `expected_at`."""

    name: str
    task: str
    rule: str
    state: JobState
    missed: bool
    expected_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    next_at: datetime | None
    error: str
    periods_missed: int
    caught_up_at: datetime | None
    done_until: datetime

    @property
    def seconds(self) -> float | None:
        """Return how long the last run took; None while it goes on."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class BeatStatus:
    """The beat that leads, or led last. `host` is empty where none ever led."""

    host: str
    since: datetime | None
    silent_since: datetime | None
    dead: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Things that wait: how many, and since when the oldest."""

    count: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class Machinery:
    """The machinery at one moment. `queues` is None while the broker does not answer."""

    now: datetime
    beat: BeatStatus
    jobs: tuple[JobStatus, ...]
    queues: tuple[QueueState, ...] | None
    stopped_cas: tuple[Issuer, ...]
    mails: Waiting
    stuck_requests: Waiting
    unsealed_events: Waiting
    newest_checkpoint_at: datetime | None

    @property
    def missed_jobs(self) -> tuple[JobStatus, ...]:
        return tuple(job for job in self.jobs if job.missed)

    @property
    def waiting_queues(self) -> tuple[QueueState, ...]:
        """Return queues in which messages wait."""
        return tuple(queue for queue in self.queues or () if queue.length)

    @property
    def stuck_queues(self) -> tuple[QueueState, ...]:
        """Return queues whose messages wait while no task of theirs has ended for a minute."""
        return tuple(queue for queue in self.queues or () if is_stuck(queue, self.now))


def machinery(now: datetime) -> Machinery:
    """Read it: a dozen small queries, and one round trip to the broker."""
    try:
        queues: tuple[QueueState, ...] | None = tuple(queue_states())
    except BrokerUnreachable:
        queues = None
    beat = beat_status(now)
    unsent = waiting_mails().aggregate(count=Count("pk"), at=Min("written_at"))
    checkpoint = Checkpoint.objects.order_by("-id").values_list("created_at", flat=True).first()
    return Machinery(
        now=now,
        beat=beat,
        jobs=tuple(jobs(now, beat)),
        queues=queues,
        stopped_cas=tuple(Issuer.objects.filter(circuit_opened_at__isnull=False).order_by("name")),
        mails=Waiting(unsent["count"], unsent["at"]),
        stuck_requests=stuck_requests(now),
        unsealed_events=_unsealed(),
        newest_checkpoint_at=checkpoint,
    )


def jobs(now: datetime, beat: BeatStatus) -> list[JobStatus]:
    """Return every job that is scheduled, or was."""
    return _jobs(PeriodicTask.objects.all(), ScheduledJob.objects.all(), beat, now)


def job_of(task: str, now: datetime) -> JobStatus | None:
    """Return the job that runs a task; None where there is none."""
    found = _jobs(PeriodicTask.objects.filter(task=task), ScheduledJob.objects.filter(task=task), beat_status(now), now)
    return next(iter(found), None)


def _jobs(tasks: QuerySet[PeriodicTask], rows: QuerySet[ScheduledJob], beat: BeatStatus, now: datetime) -> list[JobStatus]:
    by_name = {task.name: task for task in tasks.select_related("interval", "crontab", "clocked")}
    return [_job(job, by_name.get(job.name), beat, now) for job in rows.order_by("name")]


def _job(job: ScheduledJob, task: PeriodicTask | None, beat: BeatStatus, now: datetime) -> JobStatus:
    expected = None
    if task is not None and task.enabled and job.due_at is not None:
        expected = next_after(task, job.done_until)
    state = _state(job, task, now)
    never_due = state is JobState.NONSENSE
    # A beat that returned has some minutes to catch up; a run that goes on has its time limit.
    due = max(filter(None, (expected, beat.since)), default=now)
    return JobStatus(
        name=job.name,
        task=job.task,
        rule=describe(task) if task is not None else job.rule,
        state=state,
        missed=never_due or (expected is not None and state is not JobState.RUNNING and due + JOB_LATE_AFTER < now),
        expected_at=expected,
        started_at=job.started_at,
        finished_at=job.finished_at,
        next_at=None if state in {JobState.OFF, JobState.DELETED} else job.due_at,
        error=NEVER_DUE if never_due else job.error,
        periods_missed=job.missed,
        caught_up_at=job.missed_at,
        done_until=job.done_until,
    )


def _state(job: ScheduledJob, task: PeriodicTask | None, now: datetime) -> JobState:
    if task is None:
        state = JobState.DELETED
    elif not task.enabled:
        state = JobState.OFF
    elif is_nonsense(task, now):
        state = JobState.NONSENSE
    elif job.sent_period is not None and job.started_period != job.sent_period:
        state = JobState.WAITING
    elif job.started_at is None:
        state = JobState.NEVER
    elif job.finished_at is None:
        state = JobState.RUNNING if job.lease_until is not None and now < job.lease_until else JobState.BROKE_OFF
    else:
        state = JobState.FAILED if job.result == ScheduledJob.Result.FAILED else JobState.SUCCEEDED
    return state


def beat_status(now: datetime) -> BeatStatus:
    """Return the sign of life of beat."""
    lease = BeatLease.objects.filter(pk=ONLY_ROW).first()
    if lease is None:
        return BeatStatus("", None, None, dead=False)
    silent = lease.until if lease.until < now else None
    return BeatStatus(lease.host, lease.since, silent, dead=silent is not None and now - silent > BEAT_DEAD_AFTER)


def is_stuck(queue: QueueState, now: datetime) -> bool:
    """Return whether messages wait and nothing has been finished for too long."""
    limit = BULK_QUEUE_STUCK_AFTER if queue.name.endswith("-bulk") else QUEUE_STUCK_AFTER
    if not queue.length or queue.oldest_at is None or now - queue.oldest_at <= limit:
        return False
    return queue.finished_at is None or now - queue.finished_at > limit


def stuck_requests(now: datetime) -> Waiting:
    """Return requests that are open, wait for nothing that is known, and do not move. Lines of bulk orders wait for their turn.

    Renewals of the schedule wait behind everybody else's requests: they may take as long as it is
    until the next run but one.
    """
    at_work = Attempt.objects.filter(request=OuterRef("pk"), closed_at__isnull=True, lease_until__gt=now)
    moving = CertificateRequest.objects.filter(state__in=UNFINISHED, held_since__isnull=True, bulk_item__isnull=True)
    # `error` holds that a CA works on the order, or, from the sweeper, that a worker is away.
    idle = moving.filter(~Exists(at_work), Q(error="") | Q(error__startswith=WAITS_FOR_WORKER))
    late = Q(state_changed_at__lt=now - REQUEST_STUCK_AFTER) & ~Q(door=Channel.SCHEDULE)
    late |= Q(state_changed_at__lt=now - RENEWAL_STUCK_AFTER)
    found = idle.filter(late).aggregate(count=Count("pk"), at=Min("state_changed_at"))
    return Waiting(found["count"], found["at"])


def _unsealed() -> Waiting:
    # Of the first ones by id: of all of them the database may read every event to find the least time.
    first = list(AuditUnsealed.objects.order_by("pk").values_list("pk", flat=True)[:_FIRST_UNSEALED])
    oldest = AuditEvent.objects.filter(among("pk", first)).aggregate(at=Min("at"))["at"] if first else None
    return Waiting(len(first) if len(first) < _FIRST_UNSEALED else AuditUnsealed.objects.count(), oldest)
