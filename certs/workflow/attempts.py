"""Attempts: the note of an external act before it begins, with a lease; and what becomes of results that come too late.

Beat 1 opens an attempt, beat 3 closes it. Both are compare-and-set on the attempt row, so of two workers that overlap
exactly one may write its result; the other's is kept as an UnclaimedResult (PROTOCOLS 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, F, Max

from audit.events import EventType
from audit.log import Actor, Event, record_many
from certs.models import Attempt, CertificateRequest, UnclaimedResult

MAX_LOSSES = 3


@dataclass(frozen=True, slots=True)
class Claims:
    """`mine`: attempts opened now, by request id. `earlier`: outcomes of the attempts before, oldest first, by request id;
    an empty outcome is a worker that was lost. `worn_out`: requests whose workers were lost too often to try again.
    """

    mine: Mapping[int, Attempt]
    earlier: Mapping[int, list[str]]
    worn_out: tuple[CertificateRequest, ...]


def open_attempts(requests: Sequence[CertificateRequest], step: str, *, now: datetime) -> Claims:
    """Claim a step for the requests that nobody works on. The caller's transaction holds the rows FOR UPDATE.

    A request with an open attempt whose lease runs is left out: its worker lives. One whose lease ran out is taken over:
    the old attempt is closed as lost and its request's losses are counted, before anything else is parsed or sent. Only
    losses that it suffered alone tell against a request: in a batch another one may be to blame (PROTOCOLS 1).
    """
    ids = [request.pk for request in requests]
    busy: set[int] = set()
    lost: list[Attempt] = []
    for attempt in Attempt.objects.filter(request__in=ids, step=step, closed_at__isnull=True):
        if attempt.lease_until > now:
            busy.add(attempt.request_id)
        else:
            lost.append(attempt)
    if lost:
        Attempt.objects.filter(pk__in=[attempt.pk for attempt in lost]).update(closed_at=now, outcome="lost")
        CertificateRequest.objects.filter(pk__in=[attempt.request_id for attempt in lost]).update(losses=F("losses") + 1)
    lost_requests = {attempt.request_id for attempt in lost}
    for request in requests:
        request.losses += request.pk in lost_requests
    free = [request for request in requests if request.pk not in busy]
    to_blame = _to_blame([request for request in free if request.losses >= MAX_LOSSES])
    claimed = [request for request in free if request.pk not in to_blame]
    worn_out = tuple(request for request in free if request.pk in to_blame)
    return Claims(mine=_insert(claimed, step, now), earlier=_earlier(claimed, step), worn_out=worn_out)


def _to_blame(requests: Sequence[CertificateRequest]) -> set[int]:
    """Those whose worker was lost MAX_LOSSES times since they were last resumed, while it had nothing else in hand."""
    if not requests:
        return set()
    alone = Attempt.objects.filter(request__in=[request.pk for request in requests], outcome="lost", batch=1)
    counts = dict(alone.order_by().values_list("request").annotate(count=Count("pk")))
    return {pk for pk, count in counts.items() if count >= MAX_LOSSES}


def _insert(requests: Sequence[CertificateRequest], step: str, now: datetime) -> dict[int, Attempt]:
    ids = [request.pk for request in requests]
    last = dict(Attempt.objects.filter(request__in=ids, step=step).order_by().values_list("request").annotate(last=Max("number")))
    until = now + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
    opened = Attempt.objects.bulk_create(
        [Attempt(request_id=pk, step=step, number=last.get(pk, 0) + 1, batch=len(ids), lease_until=until, opened_at=now) for pk in ids]
    )
    return {attempt.request_id: attempt for attempt in opened}


def _earlier(requests: Sequence[CertificateRequest], step: str) -> dict[int, list[str]]:
    outcomes: dict[int, list[str]] = {}
    rows = Attempt.objects.filter(request__in=[r.pk for r in requests], step=step, closed_at__isnull=False)
    for pk, outcome in rows.order_by("number").values_list("request_id", "outcome"):
        outcomes.setdefault(pk, []).append(outcome)
    return outcomes


def close_attempts(attempts: Iterable[Attempt], outcomes: Mapping[int, tuple[str, str]], *, now: datetime) -> set[int]:
    """Close attempts that are still open, with (outcome, detail) by request id; answers the request ids whose claim held.

    Needs an open transaction: what the caller writes for the winners belongs to the same one.
    """
    by_outcome: dict[tuple[str, str], list[int]] = {}
    open_ids = dict(
        Attempt.objects.select_for_update()
        .filter(pk__in=[attempt.pk for attempt in attempts], closed_at__isnull=True)
        .order_by("pk")
        .values_list("pk", "request_id")
    )
    for pk, request_id in open_ids.items():
        by_outcome.setdefault(outcomes[request_id], []).append(pk)
    for (outcome, detail), pks in by_outcome.items():
        Attempt.objects.filter(pk__in=pks).update(closed_at=now, outcome=outcome, detail=detail[:500])
    return set(open_ids.values())


def renew_leases(attempts: Iterable[Attempt], *, now: datetime) -> None:
    """Tell the sweeper that the worker of these attempts lives. Called between the external calls of a long batch."""
    until = now + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
    Attempt.objects.filter(pk__in=[attempt.pk for attempt in attempts], closed_at__isnull=True).update(lease_until=until)


def keep_unclaimed(results: Sequence[UnclaimedResult], *, actor: Actor, now: datetime) -> None:
    """Keep what losing attempts brought home, with an event each; the reaper decides what becomes of it."""
    if not results:
        return
    UnclaimedResult.objects.bulk_create(results)
    record_many(
        [Event(EventType.RESULT_UNCLAIMED, r.request.subject, actor, now, {"kind": r.kind, "attempt": r.attempt.number}) for r in results]
    )
