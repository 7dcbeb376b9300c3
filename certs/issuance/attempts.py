"""External acts in three phases, and attempts: the record of an act before it begins, with a lease.

An act is reserved in a transaction, executed outside of one, and recorded in another. `reserve`
opens an attempt, `record` closes it. Both compare the attempt's row under its lock, so of
two workers that overlap exactly one may write its result; the other's is kept as an
UnclaimedResult.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from audit.events import EventType
from audit.log import Event, UnitOfWork
from certs.enums import RequestState as S
from certs.models import Attempt, CertificateRequest, UnclaimedResult
from certs.requests.states import WORKER, worn_out
from db.clock import CLOCK, database_now
from db.reads import Read, combined, read
from db.rows import Lock, key_selection, select, select_keys, update

MAX_LOSSES = 3


@dataclass(frozen=True, slots=True)
class Claims:
    """`mine`: attempts opened now, by request id. `earlier`: outcomes of the attempts before, oldest first, by request id;
    an empty outcome is a worker that was lost. `since`: when the first of those was opened.
    """

    mine: Mapping[int, Attempt]
    earlier: Mapping[int, list[str]]
    since: Mapping[int, datetime]


def open_attempts(work: UnitOfWork, requests: Sequence[CertificateRequest], step: str, *, now: datetime) -> Claims:
    """Claim a step for the requests that nobody works on. Their rows are locked, or new in `work`.

    A request whose worker was lost too often ends here as `failed` (`worker_lost`).
    """
    if not requests:
        return Claims({}, {}, {})

    # 1. Every attempt at this step so far, oldest first; locked, for its worker may be renewing the lease just now. Requests
    #    that are new in this unit have none.
    past: dict[int, list[Attempt]] = {}
    known = [request.pk for request in requests if not work.is_new(request)]
    for attempt in select(Attempt, lock=Lock.UPDATE, request=known, step=step) if known else ():
        past.setdefault(attempt.request_id, []).append(attempt)
    open_now = [attempt for attempts in past.values() for attempt in attempts if attempt.closed_at is None]

    # 2. A request with an open attempt whose lease runs is left out: its worker lives.
    busy = {attempt.request_id for attempt in open_now if attempt.lease_until > now}

    # 3. One whose lease ran out is taken over: the loss is counted before anything is parsed or sent, so that a request
    #    that kills its worker is counted each time. Its worker may only be slow: it finds its attempt closed when it records.
    lost = [attempt for attempt in open_now if attempt.request_id not in busy]
    for attempt in lost:
        work.update(attempt, {"closed_at": now, "outcome": "lost"}, was={"closed_at": None})
    lost_requests = {attempt.request_id for attempt in lost}
    for request in requests:
        if request.pk in lost_requests:
            work.update(request, {"losses": request.losses + 1})

    # 4. End those that lose worker after worker. Only losses that a request suffered alone count: in a
    #    batch another request may have been the cause.
    free = [request for request in requests if request.pk not in busy]
    to_blame = _to_blame([request for request in free if request.losses >= MAX_LOSSES], lost)
    worn_out(work, [request for request in free if request.pk in to_blame], source=S(requests[0].state), now=now)
    claimed = [request for request in free if request.pk not in to_blame]

    # 5. Claim the others until the lease ends. `batch` says how many requests share the worker: see step 4.
    until = now + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
    opened = [
        Attempt(
            request=request,
            step=step,
            number=past[request.pk][-1].number + 1 if request.pk in past else 1,
            batch=len(claimed),
            lease_until=until,
            opened_at=now,
        )
        for request in claimed
    ]
    work.insert(opened)
    earlier = {request.pk: [attempt.outcome for attempt in past[request.pk]] for request in claimed if request.pk in past}
    since = {pk: past[pk][0].opened_at for pk in earlier}
    return Claims({attempt.request_id: attempt for attempt in opened}, earlier, since)


def _to_blame(requests: Sequence[CertificateRequest], lost_now: Sequence[Attempt]) -> set[int]:
    """Return the requests whose worker was lost MAX_LOSSES times since they were last resumed, while it had no other in hand."""
    if not requests:
        return set()
    alone = Attempt.objects.filter(request__in=[request.pk for request in requests], outcome="lost", batch=1)
    counts = dict(alone.order_by().values_list("request").annotate(count=Count("pk")))
    for attempt in lost_now:  # not written yet
        counts[attempt.request_id] = counts.get(attempt.request_id, 0) + (attempt.batch == 1)
    return {request.pk for request in requests if counts.get(request.pk, 0) >= MAX_LOSSES}


@dataclass(frozen=True, slots=True)
class Claimed:
    """What `record` finds under the locks: the time, the requests whose attempt is still ours, and those whose result counts."""

    now: datetime
    attempts: frozenset[int]
    mine: frozenset[int]


def lock_claimed(attempts: Collection[Attempt], state: S) -> Claimed:
    """Read `claimed` alone."""
    return read(claimed(attempts, state))


def claimed(attempts: Collection[Attempt], state: S) -> Read[Claimed]:
    """Lock the requests of these attempts, then the attempts; find out which results count. Needs an open transaction.

    A result counts when the attempt is open and the request is in `state` and not held. The others come too late.
    """
    ids = {attempt.request_id for attempt in attempts}
    by_id = {attempt.pk: attempt.request_id for attempt in attempts}

    def those_that_count(ready: list[int], still_open: list[int], now: datetime) -> Claimed:
        ours = frozenset(by_id[pk] for pk in still_open)
        return Claimed(now, ours, ours & frozenset(ready))

    # Requests before attempts, as `reserve` locks them. An attempt that a second worker has taken over is closed, so of two
    # workers with a result exactly one finds its own attempt open.
    requests = key_selection(CertificateRequest, lock=Lock.UPDATE, id=ids, state=state, held_since=None)
    still_open = key_selection(Attempt, lock=Lock.UPDATE, id=set(by_id), closed_at=None)
    return combined([requests, still_open, CLOCK], those_that_count)


def close_attempts(work: UnitOfWork, attempts: Iterable[Attempt], outcomes: Mapping[int, tuple[str, str]], claim: Claimed) -> None:
    """Close those that are still ours, with (outcome, detail) by request id. What is left to clear up may be begun at once."""
    for attempt in attempts:
        if attempt.request_id in claim.attempts:
            outcome, detail = outcomes[attempt.request_id]
            closed = {"closed_at": claim.now, "lease_until": claim.now, "outcome": outcome, "detail": detail[:500]}
            work.update(attempt, closed, was={"closed_at": None})


class Lease:
    """Tells the sweeper that the worker of these attempts lives.

    One lease holds whatever a worker has in hand, what is under way and what waits for it.
    """

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._renewed = time.monotonic()

    def hold(self, attempts: Iterable[Attempt]) -> None:
        """Add attempts that were opened just now."""
        self._ids.update(attempt.pk for attempt in attempts)

    def renew(self) -> None:
        """Renew the attempts that are still open. Called between external calls; writes only when a quarter of the lease is over."""
        # So a call begins with three quarters of the lease (33 s), and the longest time-out of a client is 20 s.
        if time.monotonic() - self._renewed < settings.PKI_ATTEMPT_LEASE_SECONDS / 4:
            return
        # By the database's clock, which decides when a lease is over; and only what is open: an attempt that was taken over while
        # this worker stood still belongs to another one.
        with transaction.atomic():
            self._ids = set(select_keys(Attempt, lock=Lock.UPDATE, id=self._ids, closed_at=None))
            until = database_now() + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
            update(Attempt, {pk: {"lease_until": until} for pk in self._ids})
        self._renewed = time.monotonic()


def keep_unclaimed(work: UnitOfWork, results: Sequence[UnclaimedResult], *, now: datetime) -> None:
    """Keep the results of attempts that lost, with an event each. `recovery.settle_unclaimed` decides what becomes of them."""
    work.insert(results)
    work.record(
        Event(EventType.RESULT_UNCLAIMED, r.request.subject, WORKER, now, {"kind": r.kind, "attempt": r.attempt.number}) for r in results
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of an act: the requests that moved on, which are locked, and why others have to be tried again, by id."""

    now: datetime
    ready: Sequence[CertificateRequest] = ()
    keys_unavailable: Mapping[int, str] = field(default_factory=dict)
    ca_unavailable: Mapping[int, str] = field(default_factory=dict)


class Act(ABC):
    """What `reserve` of a step has noted for a batch of requests, with an open attempt for each.

    Between the phases a worker may die, stall or be overtaken. Each phase is called once, in order.
    """

    step: ClassVar[str]

    @property
    @abstractmethod
    def open_attempts(self) -> Collection[Attempt]:
        """The attempts that were opened for it."""

    @abstractmethod
    def execute(self, lease: Lease) -> None:
        """Call Vault, HSM or CA and keep the results. `lease` is renewed between two calls. No transaction is open."""

    @abstractmethod
    def record(self, work: UnitOfWork) -> Recorded:
        """Lock and compare, then write the results of the requests whose attempt is still ours."""

    @abstractmethod
    def each(self) -> Sequence[Act]:
        """Return the same act for each of its requests alone, with the result that it has: to find the one that cannot be recorded."""
