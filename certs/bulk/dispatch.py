"""The dispatcher: only a few chunks of an order are in the queue, the database holds the rest.

A published group can be neither paused nor overtaken, so pausing, cancelling and fairness between teams happen here, where the
next chunk is chosen. A chunk whose requests wait for a CA or key backend keeps its place, so that no more is sent to a backend
that is down. Every change is a compare-and-set on rows, so all of this may run twice at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import chain, group, signature
from django.conf import settings
from django.db import transaction
from django.db.models import Count
from kombu.exceptions import OperationalError

from certs.bulk.ending import finish, finish_ready
from certs.bulk.lines import items_of, lines_condition
from certs.enums import RequestState as S
from certs.models import BulkChunk, BulkOrder, CertificateRequest
from certs.pipeline import STEP_TASKS, first_task_of, in_lane, queue_of, room_in
from certs.requests.states import UNFINISHED
from certs.requests.turn import each_alone
from db.clock import database_now
from db.rows import Lock, select, select_keys, update
from db.sql import advisory_lock, fetch

log = logging.getLogger(__name__)

State = BulkChunk.State
# Any number that nothing else in this database locks: one dispatcher chooses at a time, each for some milliseconds.
_ADVISORY_LOCK = 0x62756C6B  # "bulk"
_KEY_STEPS = (S.APPROVED, S.KEY_READY)


def dispatch_on_commit() -> None:
    """Let the dispatcher look when the open transaction is committed."""

    def publish_dispatcher() -> None:
        try:
            in_lane(signature("certs.tasks.dispatch_bulk"), bulk=True).apply_async(retry=False)
        except (OperationalError, OSError) as exc:
            log.warning("broker unreachable, bulk orders wait for the sweeper: %s", exc)

    transaction.on_commit(publish_dispatcher)


def dispatch() -> int:
    """Publish as many chunks as have a place in the queue. Returns how many."""
    # Published after the commit. A crash in between leaves chunks that are queued and have no message: the sweeper publishes
    # them again. Before the commit, a worker could find its chunk not yet queued and do nothing.
    chosen = _choose()
    if chosen:
        publish(chosen)
    return len(chosen)


def dispatch_or_finish() -> int:
    """Call `dispatch()`. When nothing is left to begin, finish orders that were paused or cancelled as their last line ended."""
    begun = dispatch()
    if not begun:
        finish_ready()
    return begun


def publish(chunks: Sequence[BulkChunk]) -> None:
    """Publish a group of chains, one for each chunk. If the broker cannot be reached, the sweeper does it again."""
    try:
        group(_chain_of(chunk) for chunk in chunks).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %d chunk(s) wait for the sweeper: %s", len(chunks), exc)


def _chain_of(chunk: BulkChunk) -> chain:
    """Return the chain of a chunk's tasks.

    The first one runs where the keys are made, or, for external CSRs, where the CA is, and does all that
    can be done there in few transactions. The steps after it are for what could not be done then.
    """
    first = signature(first_task_of(chunk), args=(chunk.pk,))
    keys = [signature(STEP_TASKS[state]) for state in _KEY_STEPS] if chunk.key_backend else []
    submit = signature(STEP_TASKS[S.CSR_CREATED], kwargs={"complete": True})
    last = signature("certs.tasks.end_chunk", args=(chunk.pk,), immutable=True)
    return chain(*(in_lane(task, bulk=True) for task in (first, *keys, submit, last)))


@transaction.atomic
def _choose() -> list[BulkChunk]:
    """Choose waiting chunks that have a place: round robin by team, then by order, within the limits of teams, CAs and key backends."""
    # 1. One dispatcher chooses at a time: two at once would each count the same free places.
    advisory_lock(_ADVISORY_LOCK)
    # 2. Orders that have something to begin: running ones, and cancelled ones of which failed lines are to be tried again.
    submitted = BulkOrder.objects.filter(submitted_at__isnull=False)
    running = submitted.filter(state=BulkOrder.State.RUNNING)
    again = BulkChunk.objects.filter(state=State.WAITING, retry=True).values("order")
    cancelled = submitted.filter(state=BulkOrder.State.CANCELLED, pk__in=again)
    orders = sorted([*running, *cancelled], key=lambda order: (order.submitted_at, order.pk))
    # 3. What is in the queue, and what was done. A chunk whose requests wait for a CA or a key backend is still queued
    #    and keeps its place, so that an outage stops its orders without a rule of its own.
    queued = BulkChunk.objects.filter(state=State.QUEUED)
    columns = ("order_id", "order__team_id", "order__issuer_id", "key_backend")
    done = BulkChunk.objects.filter(state=State.DONE, order__state=BulkOrder.State.RUNNING).order_by().values_list("order__team")
    places = _Places([_Queued(*row) for row in queued.values_list(*columns)], dict(done.annotate(count=Count("pk"))))
    # 4. Of each order as many chunks as could have a place at once; then one after the other, as places are left.
    unbegun = {order.pk: order.chunks.filter(state=State.WAITING).order_by("first") for order in orders}
    waiting = {pk: list(chunks[: settings.PKI_BULK_IN_FLIGHT]) for pk, chunks in unbegun.items()}
    chosen: list[BulkChunk] = []
    while True:
        turn = sorted(orders, key=places.turn)
        order = next((order for order in turn if waiting[order.pk] and places.free(order, waiting[order.pk][0])), None)
        if order is None:
            break
        chosen.append(waiting[order.pk].pop(0))
        places.take(_Queued(order.pk, order.team_id, order.issuer_id, chosen[-1].key_backend))
    # 5. Lock the chosen ones. A chunk that was paused or cancelled since step 4 is not WAITING any more, and stays.
    now = database_now()
    ids = set(select_keys(BulkChunk, lock=Lock.UPDATE, id={chunk.pk for chunk in chosen}, state=State.WAITING))
    update(BulkChunk, {pk: {"state": State.QUEUED, "queued_at": now} for pk in ids})
    return [chunk for chunk in chosen if chunk.pk in ids]


@dataclass(frozen=True, slots=True)
class _Queued:
    """What limits how many chunks like this one may be in the queue."""

    order: int
    team: int
    issuer: int
    backend: str


class _Places:
    """How many chunks are in the queue, by what limits them; and how many are done, by team."""

    def __init__(self, queued: Iterable[_Queued], done: Mapping[int, int]) -> None:
        self._done = Counter(done)
        self._order: Counter[int] = Counter()
        self._team: Counter[int] = Counter()
        self._issuer: Counter[int] = Counter()
        self._backend: Counter[str] = Counter()
        for chunk in queued:
            self.take(chunk)

    def turn(self, order: BulkOrder) -> tuple[int, int, int]:
        """Return the sort key of orders: the team with the least in the queue first; of equals the one with the least done."""
        return self._team[order.team_id], self._done[order.team_id] + self._team[order.team_id], self._order[order.pk]

    def free(self, order: BulkOrder, chunk: BulkChunk) -> bool:
        return (
            self._team[order.team_id] < settings.PKI_BULK_IN_FLIGHT
            and self._issuer[order.issuer_id] < settings.PKI_BULK_PER_CA
            and (not chunk.key_backend or self._backend[chunk.key_backend] < settings.PKI_BULK_PER_KEY_BACKEND)
        )

    def take(self, chunk: _Queued) -> None:
        self._team[chunk.team] += 1
        self._order[chunk.order] += 1
        self._issuer[chunk.issuer] += 1
        self._backend[chunk.backend] += 1


def end_chunk(chunk_id: int) -> bool:
    """Close a chunk that has nothing left to do, and publish the next one. Returns whether it was closed.

    One whose failed lines are to be tried again by now goes back to those that wait.
    """
    closed = _close(chunk_id)
    # While there are chunks to publish, an order whose last chunk this was is finished by the sweeper, some seconds later.
    if closed and not dispatch():
        finish(closed.order_id)
    return closed is not None


@transaction.atomic
def _close(chunk_id: int) -> BulkChunk | None:
    chunk = next(iter(select(BulkChunk, lock=Lock.UPDATE, id=chunk_id, state=State.QUEUED)), None)
    if chunk is None or _unsettled(chunk):
        return None
    # A person asked for another try while the chunk's other lines were under way: it waits for its turn again.
    if chunk.retry:
        closed: dict[str, Any] = {"state": State.WAITING, "queued_at": None}
    else:
        closed = {"state": State.DONE, "done_at": database_now(), "issued": _all_issued(chunk)}
    update(BulkChunk, {chunk.pk: closed})
    return chunk


def _all_issued(chunk: BulkChunk) -> int | None:
    """Return how many lines the chunk has, if each has its certificate; None if one has not."""
    condition, parameters = lines_condition(chunk.order, chunk)
    sql = (
        "SELECT count(*), count(*) FILTER (WHERE r.state = 'completed') FROM certs_bulkitem i "  # noqa: S608 - constants
        f"LEFT JOIN certs_certificaterequest r ON r.bulk_item_id = i.id WHERE {condition}"
    )
    ((lines, completed),) = fetch(sql, parameters)
    return int(lines) if lines == completed else None


def _unsettled(chunk: BulkChunk) -> bool:
    """Return whether a line of the chunk has no request yet, or one that is still under way or held."""
    condition, parameters = lines_condition(chunk.order, chunk)
    open_states = ", ".join(f"'{state}'" for state in UNFINISHED)
    # Each request is looked up by its line, however few rows the planner thinks there are.
    state = "coalesce((SELECT r.state FROM certs_certificaterequest r WHERE r.bulk_item_id = i.id), 'submitted')"
    sql = f"SELECT EXISTS (SELECT 1 FROM certs_bulkitem i WHERE {condition} AND {state} IN ({open_states}))"  # noqa: S608 - constants
    ((found,),) = fetch(sql, parameters)
    return bool(found)


def sweep_chunks() -> int:
    """Repair what a lost message or a dead worker left behind: publish chunks again that never began, and close those that are done."""
    _begin_again(_queued())
    return close_chunks()


def close_chunks() -> int:
    """Close the chunks that have nothing left to do, fill the free places and finish the orders
    that are done. Returns how many chunks were closed. A chunk that cannot be closed stops nothing.
    """
    open_chunks = [chunk.pk for chunk in _queued() if not chunk.retry]
    closed = each_alone("closing bulk chunk", open_chunks, lambda pk: _close(pk) is not None)
    dispatch()
    finish_ready()
    return closed


def _queued() -> list[BulkChunk]:
    return list(BulkChunk.objects.filter(state=State.QUEUED).select_related("order").order_by("pk"))


def _begin_again(queued: Sequence[BulkChunk]) -> None:
    """Publish chunks once more that were published long ago and never began; not while many messages wait for workers anyway."""
    now = database_now()
    quiet_since = now - timedelta(seconds=settings.PKI_SWEEP_AFTER_SECONDS)
    quiet = [chunk for chunk in queued if chunk.queued_at and chunk.queued_at < quiet_since]
    never_began = [chunk for chunk in quiet if chunk.retry or _has_missing(chunk)]
    chosen: list[BulkChunk] = []
    for task in sorted({first_task_of(chunk) for chunk in never_began}):
        chosen += [chunk for chunk in never_began if first_task_of(chunk) == task][: room_in(queue_of(task, bulk=True))]
    if chosen:
        # The time is written before they are published, so that the next sweep, seconds later, does not publish them again.
        update(BulkChunk, {chunk.pk: {"queued_at": now} for chunk in chosen}, only_if={"state": State.QUEUED})
        publish(chosen)


def _has_missing(chunk: BulkChunk) -> bool:
    """Return whether a line has no request: one transaction makes those of a chunk, so its first task has not run."""
    items = items_of(chunk.order, chunk)
    made: int = CertificateRequest.objects.filter(bulk_item__in=items.values("pk")).count()
    return made < int(items.count())
