"""Finish orders: once each, when no line has anything left to do."""

from __future__ import annotations

from dataclasses import asdict

from django.db import transaction

from audit.events import EventType
from audit.log import record
from certs.bulk.progress import counts
from certs.models import BulkChunk, BulkOrder
from certs.notifications.audience import requester_of
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.states import WORKER
from certs.requests.turn import each_alone
from db.clock import database_now
from db.rows import Lock, select, update

State = BulkOrder.State
OPEN_CHUNKS = (BulkChunk.State.WAITING, BulkChunk.State.QUEUED)


def finish_ready() -> int:
    """Finish the orders that have no open chunk, each alone. Returns how many ended."""
    open_chunks = BulkChunk.objects.filter(state__in=OPEN_CHUNKS).values("order")
    rows = BulkOrder.objects.filter(state__in=(State.RUNNING, State.CANCELLED), submitted_at__isnull=False, finished_at__isnull=True)
    ready = rows.exclude(pk__in=open_chunks).order_by("pk").values_list("pk", flat=True)
    return each_alone("finishing bulk order", ready, finish)


@transaction.atomic
def finish(order_id: int) -> bool:
    """Finish an order if nothing is left to do; a cancelled one stays cancelled. Checks that itself, so any caller may try.

    Returns whether it ended the order. Effects, in one transaction: the order with its final
    counts, `bulk:completed`, a notice to the requester.
    """
    # 1. Lock the order. Of two workers that end the last chunks at once, the second finds it finished: one mail.
    found = select(BulkOrder, lock=Lock.UPDATE, id=order_id, finished_at=None, state=(State.RUNNING, State.CANCELLED))
    order = next(iter(found), None)
    if order is None or order.chunks.filter(state__in=OPEN_CHUNKS).exists():
        return False
    # 2. Closed chunks are not enough: a line that waits for an approval belongs to none that is open.
    tally = counts(order)
    if tally.under_way or tally.held or tally.awaiting_approval:
        return False
    # 3. The order with its counts, so that its page counts 50,000 lines no more.
    now = database_now()
    state = State.DONE if order.state == State.RUNNING else State.CANCELLED
    update(BulkOrder, {order.pk: {"state": state, "finished_at": now, "ended_as": asdict(tally)}})
    outcomes = ("issued", "refused", "failed", "invalid", "cancelled", "left_out")
    data = {"lines": tally.total} | {name: getattr(tally, name) for name in outcomes}
    record(EventType.BULK_COMPLETED, subject=order.subject, actor=WORKER, at=now, data=data)
    # With the time: failed lines that are tried again end the order once more, with a mail of its own.
    notify(
        Topic.ISSUED,
        key=f"bulk:{order.public_id}:{now:%Y%m%d%H%M%S}",
        audience=requester_of(order),
        subject=f"{tally.issued} of {order.total} certificates issued: {order.title}",
        template="bulk_done",
        context={"order": order, "tally": tally},
        now=now,
    )
    return True
