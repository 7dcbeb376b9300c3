"""The progress of an order: counts, rate and expected end, read from the rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from certs.enums import RequestState as S
from certs.errors import joined
from certs.models import BulkChunk, BulkOrder, CertificateRequest, Issuer
from certs.requests.waiting_reasons import waiting_reason_of_order

RATE_WINDOW = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Tally:
    """Lines of an order by what became of them: each line is in exactly one of the numbers, and `total` is their sum.

    `waiting`: not begun. `cancelled` includes lines that were never begun. Of lines without a request, `invalid` cannot be read,
    and `left_out` were left out as the person chose who submitted the order.
    """

    total: int
    waiting: int = 0
    under_way: int = 0
    held: int = 0
    awaiting_approval: int = 0
    issued: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    invalid: int = 0
    left_out: int = 0

    @property
    def ended(self) -> int:
        """Lines that are finished, with or without a certificate."""
        return self.issued + self.not_issued + self.cancelled + self.left_out

    @property
    def not_issued(self) -> int:
        """Lines that were submitted and could not be issued: what every channel calls failed."""
        return self.refused + self.failed + self.invalid


@dataclass(frozen=True, slots=True)
class Progress:
    """`rate` in certificates a second over the last seconds; `ends_at` only while it can be estimated. `waits_for`: why nothing moves."""

    tally: Tally
    rate: float
    seconds: float
    ends_at: datetime | None
    waits_for: str


_OF_STATE = {
    S.AWAITING_APPROVAL: "awaiting_approval",
    S.COMPLETED: "issued",
    S.REJECTED: "refused",
    S.FAILED: "failed",
    S.CANCELLED: "cancelled",
}


def counts(order: BulkOrder) -> Tally:
    """Return what became of the lines: one query over those of which anything can change any more.

    Of all ends of a request only `failed` is left again, when it goes on or is cancelled.
    """
    return _counted(order)[0]


def _counted(order: BulkOrder, since: datetime | None = None) -> tuple[Tally, int]:
    """Return the same, and how many certificates were issued after `since`: of 50,000 lines one pass is enough."""
    # What an order ended as is written once. Only failed lines that went on since make it out of date.
    if order.finished_at is not None and order.ended_as is not None and order.ended_as["failed"] == _failed(order, order.ended_as):
        return Tally(**order.ended_as), 0
    # Lines of chunks that are settled are known without reading them: of a running order of 50,000 lines only those of
    # the chunks under way are counted.
    known, first, last = _known_of_chunks(order, since)
    sql = (
        "SELECT r.state, r.held_since IS NOT NULL, count(*), count(*) FILTER (WHERE r.state = 'completed' AND r.state_changed_at > %s) "
        "FROM certs_bulkitem i JOIN certs_certificaterequest r ON r.bulk_item_id = i.id "
        "WHERE i.order_id = %s AND i.number BETWEEN %s AND %s GROUP BY 1, 2"
    )
    after = connection.ops.adapt_datetimefield_value(since or order.created_at)
    found = {"issued": known}
    recent = 0
    with connection.cursor() as cursor:
        cursor.execute(sql, [after, order.pk, first, last])
        for state, held, count, lately in cursor.fetchall():
            name = _OF_STATE.get(S(state)) or ("held" if held else "under_way")
            found[name] = found.get(name, 0) + count
            recent += lately
    # Lines without a request are the rest. In a cancelled order they are cancelled, once no chunk can begin any more.
    over = order.state == BulkOrder.State.CANCELLED and not order.chunks.filter(state=BulkChunk.State.QUEUED).exists()
    rest = "cancelled" if over else "waiting"
    found[rest] = found.get(rest, 0) + max(0, order.total - order.not_submitted - sum(found.values()))
    found["invalid" if order.with_refused else "left_out"] = order.not_submitted
    return Tally(total=order.total, **found), recent


def _known_of_chunks(order: BulkOrder, since: datetime | None) -> tuple[int, int, int]:
    """Return how many lines are known to be issued, and the first and last number of the lines that have to be counted.

    Nothing changes any more in a chunk that was all issued when it was closed, and no line of one that
    waits has a request. Chunks begin in order, so what lies between is mostly what is under way.
    """
    begun = order.chunks.exclude(state=BulkChunk.State.WAITING, retry=False)
    issued: list[tuple[int, int]] = []  # first line, and how many
    others: list[tuple[int, int]] = []  # first line and last
    for first, last, lines, done_at in begun.values_list("first", "last", "issued", "done_at"):
        if lines is not None and done_at is not None and (since is None or done_at <= since):
            issued.append((first, lines))
        else:
            others.append((first, last))
    # One range, which the index of (order, number) serves; issued chunks within it are counted with the others.
    low, high = (min(first for first, _ in others), max(last for _, last in others)) if others else (0, -1)
    return sum(lines for first, lines in issued if not low <= first <= high), low, high


def _failed(order: BulkOrder, ended_as: Mapping[str, int]) -> int:
    """Return how many lines of an ended order are failed now: as many as at its end while none has gone on.

    No line fails later that had not failed then. Failed requests have an index that holds few others.
    """
    if not ended_as["failed"]:
        return 0
    return CertificateRequest.objects.filter(bulk_item__order=order, state=S.FAILED).count()


def progress(order: BulkOrder, *, now: datetime) -> Progress:
    """Return what the order's page and the command show."""
    if order.submitted_at is None:
        return Progress(counts(order), 0.0, 0.0, None, "")
    seconds = max(0.001, ((order.finished_at or now) - order.submitted_at).total_seconds())
    window = min(RATE_WINDOW.total_seconds(), seconds)
    tally, recent = _counted(order, now - timedelta(seconds=window))
    # Over the whole time, the estimate of an order that waited for an approval would stay wrong for hours after it went on.
    rate = tally.issued / seconds if order.finished_at else recent / window
    left = tally.waiting + tally.under_way
    moving = order.state == BulkOrder.State.RUNNING and rate > 0 and left
    return Progress(tally, rate, seconds, now + timedelta(seconds=left / rate) if moving else None, _waits_for(order, tally, rate))


def _waits_for(order: BulkOrder, tally: Tally, rate: float) -> str:
    """Return why an order does not move, an empty text while it does."""
    if order.state == BulkOrder.State.PAUSED:
        return "It is paused: what is under way goes on, nothing new is begun."
    if order.finished_at is not None:
        return ""
    if tally.held:
        issuer = Issuer.objects.get(pk=order.issuer_id)
        reasons = set(_held_reasons(order))
        why = joined(sorted(reasons)) or f"{issuer.name} or the key backend is unavailable."
        return f"{why} The order continues automatically when that works again; nothing is lost."
    # While other lines go on, the order as a whole does not wait for a person.
    if tally.awaiting_approval and not tally.under_way and not tally.waiting:
        lines = "1 line waits" if tally.awaiting_approval == 1 else f"{tally.awaiting_approval:,} lines wait"
        return f"{lines} for approval by the security team."
    return "" if rate else waiting_reason_of_order(order)


def _held_reasons(order: BulkOrder) -> list[str]:
    sql = (
        "SELECT DISTINCT r.error FROM certs_bulkitem i JOIN certs_certificaterequest r ON r.bulk_item_id = i.id "
        "WHERE i.order_id = %s AND r.held_since IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [order.pk])
        return [row[0] for row in cursor.fetchall() if row[0]]


def as_json(order: BulkOrder, seen: Progress) -> dict[str, Any]:
    """Return the progress as JSON, for REST and `--json`."""
    tally = seen.tally
    return {
        "bulk_id": order.public_id,
        "state": order.state,
        "title": order.title,
        "total": tally.total,
        "issued": tally.issued,
        "failed": tally.not_issued,
        "counts": {name: count for name, count in asdict(tally).items() if name != "total"},
        "rate": round(seen.rate, 1),
        "seconds": round(seen.seconds, 2),
        "ends_at": seen.ends_at.strftime("%Y-%m-%dT%H:%M:%SZ") if seen.ends_at else None,
        "waits_for": seen.waits_for or None,
    }
