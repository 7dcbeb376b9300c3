"""The dispatcher: only a few chunks of an order are in the queue, the database holds the rest (PROTOCOLS 7).

A published group can be neither paused nor overtaken, so pausing, cancelling and fairness between teams happen here,
where the next chunk is chosen. A chunk whose requests are held for a CA or key backend keeps its place: while something is
down no more is sent towards it. All of it is compare-and-set on rows and may run twice at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from celery import chain, group, signature
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count
from kombu.exceptions import OperationalError

from audit.clock import database_now
from audit.vendor import on_postgresql
from certs.models import BulkChunk, BulkOrder, CertificateRequest
from certs.models.batch import locked, update_rows
from certs.terms import RequestState as S
from certs.workflow.bulk.ending import finish, finish_ready
from certs.workflow.bulk.items import items_of
from certs.workflow.canvas import STEP_TASKS, in_lane, queue_of, room_in
from certs.workflow.states import UNFINISHED

log = logging.getLogger(__name__)

State = BulkChunk.State
# Any number that nothing else in this database locks: one dispatcher chooses at a time, each for some milliseconds.
_ADVISORY_LOCK = 0x62756C6B  # "bulk"
_KEY_STEPS = (S.APPROVED, S.KEY_READY)


def dispatch_on_commit() -> None:
    """Let the dispatcher look when the open transaction is committed."""
    transaction.on_commit(_ask_dispatcher)


def _ask_dispatcher() -> None:
    try:
        in_lane(signature("certs.tasks.dispatch_bulk"), bulk=True).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, bulk orders wait for the sweeper: %s", exc)


def dispatch() -> int:
    """Put as many chunks into the queue as have a place there; answers how many."""
    chosen = _choose()
    if chosen:
        publish(chosen)
    return len(chosen)


def dispatch_or_finish() -> int:
    """`dispatch()`; when nothing is left to be begun, orders end that were paused or cancelled as their last line ended."""
    begun = dispatch()
    if not begun:
        finish_ready()
    return begun


def publish(chunks: Sequence[BulkChunk]) -> None:
    """A group of chains, one for each chunk. If the broker cannot be reached, the sweeper does it again."""
    try:
        group(_canvas(chunk) for chunk in chunks).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %d chunk(s) wait for the sweeper: %s", len(chunks), exc)


def _canvas(chunk: BulkChunk) -> chain:
    """A chunk begins where its keys are made, or, of brought CSRs, where the CA is: there its first task does all that can be done
    in few transactions. The steps after it are for what could not be done then.
    """
    first = signature(_first_task(chunk), args=(chunk.pk,))
    keys = [signature(STEP_TASKS[state]) for state in _KEY_STEPS] if chunk.key_backend else []
    submit = signature(STEP_TASKS[S.CSR_CREATED], kwargs={"complete": True})
    last = signature("certs.tasks.end_chunk", args=(chunk.pk,), immutable=True)
    return chain(*(in_lane(task, bulk=True) for task in (first, *keys, submit, last)))


def _first_task(chunk: BulkChunk) -> str:
    return "certs.tasks.make_chunk" if chunk.key_backend else "certs.tasks.issue_chunk"


@transaction.atomic
def _choose() -> list[BulkChunk]:
    """Waiting chunks that have a place: round robin by team, then by order; never more at once for a team, CA or key backend than set."""
    _lock()
    orders = sorted(_open_orders(), key=lambda order: (order.submitted_at, order.pk))
    places = _Places(list(BulkChunk.objects.filter(state=State.QUEUED).select_related("order")), orders)
    chosen: list[BulkChunk] = []
    waiting = {order.pk: list(_first_waiting(order)) for order in orders}
    while True:
        turn = sorted(orders, key=places.turn)
        chunk = next((waiting[order.pk][0] for order in turn if waiting[order.pk] and places.free(order, waiting[order.pk][0])), None)
        if chunk is None:
            break
        waiting[chunk.order_id].pop(0)
        places.take(next(order for order in orders if order.pk == chunk.order_id), chunk)
        chosen.append(chunk)
    now = database_now()
    taken = update_rows(
        BulkChunk, {chunk.pk: {"state": State.QUEUED, "queued_at": now} for chunk in chosen}, only_if={"state": State.WAITING}
    )
    return [chunk for chunk in chosen if chunk.pk in taken]


def _open_orders() -> list[BulkOrder]:
    """Running ones, and cancelled ones of which failed lines are to be tried again. Two queries, each over an index of what is open."""
    again = BulkChunk.objects.filter(state=State.WAITING, retry=True).values("order")
    running = BulkOrder.objects.filter(state=BulkOrder.State.RUNNING, submitted_at__isnull=False)
    return [*running, *BulkOrder.objects.filter(pk__in=again, state=BulkOrder.State.CANCELLED)]


def _first_waiting(order: BulkOrder) -> Iterable[BulkChunk]:
    return order.chunks.filter(state=State.WAITING).order_by("first")[: settings.PKI_BULK_IN_FLIGHT]


class _Places:
    """How many chunks are in the queue, by what limits them."""

    def __init__(self, queued: Sequence[BulkChunk], running: Sequence[BulkOrder]) -> None:
        self.team: Counter[int] = Counter()
        self.order: Counter[int] = Counter()
        done = BulkChunk.objects.filter(order__in=[order.pk for order in running], state=State.DONE).order_by()
        self._done = Counter(dict(done.values_list("order__team").annotate(count=Count("pk"))))
        self._issuer: Counter[int] = Counter()
        self._backend: Counter[str] = Counter()
        for chunk in queued:
            self.take(chunk.order, chunk)

    def turn(self, order: BulkOrder) -> tuple[int, int, int]:
        """The team that has least in the queue comes first; of equals the one that had least done of its running orders."""
        return self.team[order.team_id], self._done[order.team_id] + self.team[order.team_id], self.order[order.pk]

    def free(self, order: BulkOrder, chunk: BulkChunk) -> bool:
        return (
            self.team[order.team_id] < settings.PKI_BULK_IN_FLIGHT
            and self._issuer[order.issuer_id] < settings.PKI_BULK_PER_CA
            and (not chunk.key_backend or self._backend[chunk.key_backend] < settings.PKI_BULK_PER_KEY_BACKEND)
        )

    def take(self, order: BulkOrder, chunk: BulkChunk) -> None:
        self.team[order.team_id] += 1
        self.order[order.pk] += 1
        self._issuer[order.issuer_id] += 1
        self._backend[chunk.key_backend] += 1


def _lock() -> None:
    """One at a time; on SQLite the transaction's write lock does it."""
    if on_postgresql():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])


def end_chunk(chunk_id: int) -> bool:
    """Close a chunk that has nothing left to do, and let the next one in. Answers whether it was closed.

    One whose failed lines were asked to be tried again meanwhile goes back to those that wait.
    """
    closed = _close(chunk_id)
    if closed and not dispatch():
        finish(closed.order_id)
    return closed is not None


@transaction.atomic
def _close(chunk_id: int) -> BulkChunk | None:
    chunk = next(iter(locked(BulkChunk, [chunk_id])), None)
    if chunk is None or chunk.state != State.QUEUED or _unsettled(chunk):
        return None
    closed = {"state": State.WAITING, "queued_at": None} if chunk.retry else {"state": State.DONE, "done_at": database_now()}
    update_rows(BulkChunk, {chunk.pk: closed})
    return chunk


def _unsettled(chunk: BulkChunk) -> bool:
    """Whether a line of the chunk has no request yet, or one that is still under way or held."""
    items = items_of(chunk.order, chunk)
    requests = CertificateRequest.objects.filter(bulk_item__in=items.values("pk"))
    return requests.filter(state__in=UNFINISHED).exists() or requests.count() < items.count()


def sweep_chunks() -> int:
    """For what a lost message or a dead worker left behind: close what is done, begin again what never began, fill free places."""
    queued = list(BulkChunk.objects.filter(state=State.QUEUED).select_related("order").order_by("pk"))
    closed = sum(_close(chunk.pk) is not None for chunk in queued if not chunk.retry)
    _begin_again(queued)
    dispatch()
    finish_ready()
    return closed


def _begin_again(queued: Sequence[BulkChunk]) -> None:
    """Publish chunks once more that were published long ago and never began; not while many messages wait for workers anyway."""
    now = database_now()
    quiet_since = now - timedelta(seconds=settings.PKI_SWEEP_AFTER_SECONDS)
    never_began = [chunk for chunk in queued if chunk.queued_at and chunk.queued_at < quiet_since and (chunk.retry or _has_missing(chunk))]
    chosen: list[BulkChunk] = []
    for task in sorted({_first_task(chunk) for chunk in never_began}):
        chosen += [chunk for chunk in never_began if _first_task(chunk) == task][: room_in(queue_of(task, bulk=True))]
    if chosen:
        update_rows(BulkChunk, {chunk.pk: {"queued_at": now} for chunk in chosen}, only_if={"state": State.QUEUED})
        publish(chosen)


def _has_missing(chunk: BulkChunk) -> bool:
    items = items_of(chunk.order, chunk)
    made: int = CertificateRequest.objects.filter(bulk_item__in=items.values("pk")).count()
    return made < int(items.count())
