"""Orders without a page between draft and submission: drafted, evaluated and submitted in one call, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from certs.bulk.drafting.draft import discard, judged, open_draft, outcome_counts
from certs.bulk.line_pages import SeenLine, Show, lines_page
from certs.bulk.submit import submit_order
from certs.errors import InputRefused, PortalError
from certs.models import BulkOrder
from certs.requests.submit import Requester
from certs.uploads.line import Line

SHOW_PROBLEMS = SHOW_LINES = 100


class LinesRefused(InputRefused):
    """Lines cannot be issued and the caller wants all or nothing; `judged` says which and why."""

    problem = "lines_refused"

    def __init__(self, message: str, judged: dict[str, Any], *, next_step: str) -> None:
        super().__init__(message, field="items", next_step=next_step)
        self.judged = judged


@dataclass(frozen=True, slots=True)
class OrderOptions:
    """What becomes of lines that cannot be issued: recorded as refused (the default), left out, or the whole order is refused."""

    only_allowed: bool = False
    all_or_nothing: bool = False


def judge_lines(
    lines: Collection[Line], *, requester: Requester, title: str, issuer: str | None = None, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what an order would be, line by line. Nothing is kept, and an idempotency key is not used up."""
    # Without the key: it would mark the first order, and the real one would be refused as another content.
    asker = replace(requester, idempotency_scope="", idempotency_key="")
    order = judged(lines, requester=asker, title=title, issuer=issuer, notes=notes)
    try:
        return _as_json(order)
    finally:
        discard(order)


def order_at_once(
    lines: Collection[Line],
    *,
    requester: Requester,
    title: str,
    options: OrderOptions,
    issuer: str | None = None,
    notes: Sequence[str] = (),
) -> BulkOrder:
    """Draft and submit an order. The same idempotency key with the same lines returns the first order.

    Until it is submitted nobody sees the order, so an interrupted one leaves nothing behind. Raises
    LinesRefused, with nothing kept and the key not used up, and what `draft` and `submit_order` raise.
    """
    # 1. Evaluate the lines. The idempotency key may have found an order that was submitted before: that one is the result.
    order = judged(lines, requester=requester, title=title, issuer=issuer, notes=notes)
    if order.state not in (BulkOrder.State.JUDGING, BulkOrder.State.DRAFT):
        return order
    try:
        # 2. All or nothing, where the caller wants that; and nothing where no line can be read.
        counted = outcome_counts(order)
        total, bad = sum(counted.values()), counted["deny"] + counted["invalid"]
        if (bad and options.all_or_nothing) or counted["invalid"] == total:
            raise LinesRefused(
                f"{bad} of {total} lines cannot be issued; nothing was issued.",
                _as_json(order),
                next_step="Mend them, or send the order again without all_or_nothing."
                if bad < total
                else "Mend them, and send the order again.",
            )
        # 3. Open and submit in one transaction: a crash in between would leave a draft that its caller does not know of.
        with transaction.atomic():
            opened = open_draft(order) if order.state == BulkOrder.State.JUDGING else order
            return submit_order(opened, authority=requester.authority, with_refused=not options.only_allowed)
    except PortalError:
        # 4. Nothing of a refused order is kept, so that the same idempotency key works for the corrected lines. (Where the
        #    process dies before this, the sweeper deletes the order.)
        if order.state == BulkOrder.State.JUDGING:
            discard(order)
        raise


def _as_json(order: BulkOrder) -> dict[str, Any]:
    counted = outcome_counts(order)
    problems = lines_page(order, Show.PROBLEMS, teams=None, size=SHOW_PROBLEMS).rows
    return {
        "success": not counted["deny"] + counted["invalid"],
        "total": sum(counted.values()),
        "outcomes": counted,
        "duplicates": order.items.exclude(duplicate="").count(),
        "notes": order.notes,
        "lines": [planned_line(line) for line in lines_page(order, teams=None, size=SHOW_LINES).rows],
        "problems": [problem_of(line) | {"line": line.item.number, "source": line.item.source} for line in problems],
    }


def planned_line(line: SeenLine) -> dict[str, Any]:
    """Return what would be issued for a line, as the draft's page shows it: names completed, gaps filled, duplicates pointed out."""
    spec = line.item.spec or {}
    return {
        "line": line.item.source,
        "common_name": line.item.common_name,
        "sans": line.names,
        "key": spec.get("key"),
        "validity_days": spec.get("validity_days"),
        "not_after": spec.get("not_after"),
        "profile": spec.get("profile"),
        "state": line.state,
        "error": line.reason,
        "suggestion": line.advice,
        "duplicate": line.item.duplicate,
        "notes": line.item.notes,
    }


def problem_of(line: SeenLine) -> dict[str, str]:
    """Return a line that cannot be or was not issued, as commands print it."""
    return {
        "line": line.item.source,
        "name": line.item.common_name,
        "state": line.state,
        "error": line.reason,
        "suggestion": line.advice,
    }
