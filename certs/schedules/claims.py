"""The begin and the end of a scheduled run, each one conditional UPDATE of the due table."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Case, F, Q, Value, When

from certs.models import ScheduledJob
from db.clock import database_now

SKEW = timedelta(minutes=5)


def begin(name: str, period: datetime, *, run_id: str, limit: timedelta) -> bool:
    """Claim a period for this run. Returns whether the run may go on.

    It may when the period is newer than the last one begun (a recorded time in the future is not
    trusted), when the broker delivers the same message again because its worker was killed, and
    when beat has given the last run up or it failed.
    """
    now = database_now()
    same = Q(started_period=period)
    newer = Q(started_period=None) | Q(started_period__lt=period) | Q(started_period__gt=now + SKEW)
    again = same & Q(finished_at=None) & Q(run_id__in=["", run_id])
    failed = same & Q(result=ScheduledJob.Result.FAILED)
    claimed = ScheduledJob.objects.filter(newer | again | failed, name=name).update(
        starts=Case(When(started_period=period, then=F("starts") + 1), default=Value(1)),
        started_period=period,
        started_at=now,
        finished_at=None,
        run_id=run_id,
        lease_until=now + limit,
        result="",
        error="",
    )
    return bool(claimed)


def end(name: str, period: datetime, *, run_id: str, error: str) -> None:
    """Record how a run ended; `error` is empty for success.

    A run that was overtaken by the next period no longer owns the row, but its success counts.
    """
    now = database_now()
    result = ScheduledJob.Result.FAILED if error else ScheduledJob.Result.SUCCEEDED
    rows = ScheduledJob.objects.filter(name=name)
    rows.filter(run_id=run_id, started_period=period).update(finished_at=now, lease_until=None, result=result, error=error[:300])
    if not error:
        rows.filter(Q(done_until__lt=period) | Q(done_until__gt=now + SKEW)).update(done_until=period)
