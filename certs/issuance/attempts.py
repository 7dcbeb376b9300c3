"""Attempts: the note of an external act before it begins, with a lease; and what becomes of results that come too late.

Beat 1 opens an attempt, beat 3 closes it. Both are compare-and-set on the attempt row, so of two workers that overlap
exactly one may write its result; the other's is kept as an UnclaimedResult (PROTOCOLS 1).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F

from audit.events import EventType
from audit.log import Actor, Event, record_many, subjects_query
from audit.unit_of_work import gathering
from certs.enums import RequestState as S
from certs.models import Attempt, CertificateRequest, UnclaimedResult
from certs.models.rows import insert_models, instances, new, select_query, update_later, update_rows
from certs.requests.states import ready_query
from db.backend import on_postgresql
from db.clock import database_now, now_query, time_of
from db.sql import Query, among_ids, ask, id_list, ids_of, ids_query

MAX_LOSSES = 3
NONE: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Claims:
    """`mine`: attempts opened now, by request id. `earlier`: outcomes of the attempts before, oldest first, by request id;
    an empty outcome is a worker that was lost. `since`: when the first of those was opened. `worn_out`: requests whose workers
    were lost too often to try again.
    """

    mine: Mapping[int, Attempt]
    earlier: Mapping[int, list[str]]
    since: Mapping[int, datetime]
    worn_out: tuple[CertificateRequest, ...]


def open_attempts(requests: Sequence[CertificateRequest], step: str, *, now: datetime, fresh: bool = False) -> Claims:
    """Claim a step for the requests that nobody works on. The caller's transaction holds the rows FOR UPDATE.

    A request with an open attempt whose lease runs is left out: its worker lives. One whose lease ran out is taken over:
    the old attempt is closed as lost and its request's losses are counted, before anything else is parsed or sent. Only
    losses that it suffered alone tell against a request: in a batch another one may be to blame (PROTOCOLS 1).

    `fresh`: the requests were made in this very transaction, so nobody can have tried before.
    """
    past = {} if fresh else _past(requests, step)
    open_now = [attempt for attempts in past.values() for attempt in attempts if attempt.closed_at is None]
    busy = {attempt.request_id for attempt in open_now if attempt.lease_until > now}
    lost = [attempt for attempt in open_now if attempt.request_id not in busy]
    if lost:
        _close_lost(lost, now)
    lost_requests = {attempt.request_id for attempt in lost}
    for request in requests:
        request.losses += request.pk in lost_requests
    free = [request for request in requests if request.pk not in busy]
    to_blame = _to_blame([request for request in free if request.losses >= MAX_LOSSES])
    claimed = [request for request in free if request.pk not in to_blame]
    worn_out = tuple(request for request in free if request.pk in to_blame)
    earlier = {request.pk: [attempt.outcome for attempt in past[request.pk]] for request in claimed if request.pk in past}
    since = {pk: past[pk][0].opened_at for pk in earlier}
    return Claims(mine=_insert(claimed, step, past, now), earlier=earlier, since=since, worn_out=worn_out)


def _past(requests: Sequence[CertificateRequest], step: str) -> dict[int, list[Attempt]]:
    """Every attempt at this step so far, oldest first, by request id."""
    past: dict[int, list[Attempt]] = {}
    condition = f"{among_ids('request_id')} AND step = %s ORDER BY number"
    (rows,) = ask(select_query(Attempt, condition, [id_list([request.pk for request in requests]), step]))
    for attempt in instances(Attempt, rows):
        past.setdefault(attempt.request_id, []).append(attempt)
    return past


def _close_lost(lost: Sequence[Attempt], now: datetime) -> None:
    update_rows(Attempt, {attempt.pk: {"closed_at": now, "outcome": "lost"} for attempt in lost})
    CertificateRequest.objects.filter(pk__in=[attempt.request_id for attempt in lost]).update(losses=F("losses") + 1)
    for attempt in lost:
        attempt.outcome = "lost"


def _to_blame(requests: Sequence[CertificateRequest]) -> set[int]:
    """Those whose worker was lost MAX_LOSSES times since they were last resumed, while it had nothing else in hand."""
    if not requests:
        return set()
    alone = Attempt.objects.filter(request__in=[request.pk for request in requests], outcome="lost", batch=1)
    counts = dict(alone.order_by().values_list("request").annotate(count=Count("pk")))
    return {pk for pk, count in counts.items() if count >= MAX_LOSSES}


def _insert(requests: Sequence[CertificateRequest], step: str, past: Mapping[int, list[Attempt]], now: datetime) -> dict[int, Attempt]:
    until = now + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
    opened = [
        new(
            Attempt,
            request_id=request.pk,
            step=step,
            number=past[request.pk][-1].number + 1 if request.pk in past else 1,
            batch=len(requests),
            lease_until=until,
            opened_at=now,
        )
        for request in requests
    ]
    insert_models(opened)
    return {attempt.request_id: attempt for attempt in opened}


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand at the beginning of beat 3: the time, the requests whose claim held, those that are still in the state they
    were in, and what else was asked. All of it is locked.
    """

    now: datetime
    claimed: frozenset[int]
    ready: frozenset[int]
    answers: tuple[Any, ...]

    @property
    def mine(self) -> frozenset[int]:
        """The requests whose results count; those of the others come too late."""
        return self.claimed & self.ready


def as_things_stand(
    attempts: Collection[Attempt], state: S, *also: Query, requests: Iterable[CertificateRequest] = (), to_come: Mapping[str, int] = NONE
) -> Standing:
    """One message at the beginning of beat 3. Needs an open transaction; what the caller writes belongs to the same one.

    `requests`, and `to_come`, ids for new rows by table: what is known now need not be asked for at the end of `audit.log.together()`.
    """
    lock = " FOR UPDATE" if on_postgresql() else ""
    sql = f"SELECT request_id FROM certs_attempt WHERE {among_ids('id')} AND closed_at IS NULL ORDER BY id{lock}"  # noqa: S608 - constants
    claims = (sql, [id_list(sorted(attempt.pk for attempt in attempts))])
    subjects = [request.subject for request in requests]
    numbers = [subjects_query(subjects), ids_query(*to_come.items())] if subjects else []  # ids are younger than the subjects' locks
    ready, claimed, time, *answers = ask(
        ready_query([attempt.request_id for attempt in attempts], state), claims, now_query(), *numbers, *also
    )
    if subjects:
        last, ids, *answers = answers
        gathering.foresee(dict(last), dict(zip(to_come, ids_of(ids, len(to_come)), strict=True)))
    return Standing(time_of(time), frozenset(row[0] for row in claimed), frozenset(row[0] for row in ready), tuple(answers))


def close_attempts(attempts: Iterable[Attempt], outcomes: Mapping[int, tuple[str, str]], standing: Standing) -> None:
    """Close those whose claim held, with (outcome, detail) by request id."""
    values = {}
    for attempt in attempts:
        if attempt.request_id in standing.claimed:
            outcome, detail = outcomes[attempt.request_id]
            values[attempt.pk] = {
                "closed_at": standing.now,
                "lease_until": standing.now,  # what is left to clear up may be begun at once
                "outcome": outcome,
                "detail": detail[:500],
            }
    update_later(Attempt, values)


class Lease:
    """Tells the sweeper that the worker of these attempts lives. `renew` is called between the external calls of a long batch, and
    writes only when a quarter of the lease is over.
    """

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self._ids = [attempt.pk for attempt in attempts]
        self._renewed = time.monotonic()

    def renew(self) -> None:
        if time.monotonic() - self._renewed < settings.PKI_ATTEMPT_LEASE_SECONDS / 4:
            return
        until = database_now() + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)
        Attempt.objects.filter(pk__in=self._ids, closed_at__isnull=True).update(lease_until=until)
        self._renewed = time.monotonic()


def keep_unclaimed(results: Sequence[UnclaimedResult], *, actor: Actor, now: datetime) -> None:
    """Keep what losing attempts brought home, with an event each; the reaper decides what becomes of it."""
    if not results:
        return
    UnclaimedResult.objects.bulk_create(results)
    record_many(
        [Event(EventType.RESULT_UNCLAIMED, r.request.subject, actor, now, {"kind": r.kind, "attempt": r.attempt.number}) for r in results]
    )
