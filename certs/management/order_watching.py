"""Watching a bulk order in the terminal until it has ended, and telling its end: the same for every command that makes one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from certs.bulk.drafting.draft import lines_of
from certs.bulk.line_pages import Show, lines_page
from certs.bulk.order_now import OrderOptions, order_at_once, problem_of
from certs.bulk.progress import Progress, as_json, progress
from certs.models import BulkOrder, CertificateRequest
from certs.requests.representation import answer
from certs.requests.submit import Requester
from certs.spec import IssuePlan
from db.clock import database_now

LOOK_EVERY = 0.2  # seconds
SHOW_PROBLEMS, SHOW_CERTIFICATES = 20, 100
BAR = 30

Tell = Callable[[str], None]


def issue_in_order(
    plan: IssuePlan, *, requester: Requester, title: str, wait: float, tell: Tell, issuer: str | None = None
) -> dict[str, Any]:
    """Many certificates as one bulk order, judged and submitted together: what `bulk_issue` answers, and the certificates themselves
    (the first hundred), as for a few.
    """
    started = time.monotonic()
    order = order_at_once(lines_of(plan), requester=requester, title=title, options=OrderOptions(), issuer=issuer, notes=plan.notes)
    result = watch(order, wait=wait, tell=tell, started=started)
    rows = CertificateRequest.objects.filter(bulk_item__order=order).order_by("bulk_item__number")
    return result | {"certificates": [answer(row) for row in rows[:SHOW_CERTIFICATES]], "notes": list(plan.notes)}


def watch(order: BulkOrder, *, wait: float, tell: Tell, started: float) -> dict[str, Any]:
    """Until it has ended, `wait` seconds are over, or only people can help. `tell` gets the progress as it stands, as one line."""
    deadline = time.monotonic() + wait
    while True:
        order.refresh_from_db()
        seen = progress(order, now=database_now())
        tell(_line(order, seen))
        if order.finished_at is not None or time.monotonic() >= deadline or _only_people_can_help(order, seen):
            break
        time.sleep(LOOK_EVERY)
    result = _ended(order, seen) | {"seconds": round(time.monotonic() - started, 2)}
    if not result["success"]:
        result["error"] = _why_not(order, seen)
    return result


def _line(order: BulkOrder, seen: Progress) -> str:
    tally = seen.tally
    filled = BAR * tally.ended // max(1, tally.total)
    end = f", ends {seen.ends_at:%H:%M:%S} UTC" if seen.ends_at else ""
    line = f"[{'#' * filled}{'.' * (BAR - filled)}] {tally.issued}/{tally.total} issued, {seen.rate:.0f}/s{end} {seen.waits_for}"
    return f"\r{order.public_id} {line[:150]:<150}"


def _ended(order: BulkOrder, seen: Progress) -> dict[str, Any]:
    """How far the order is, with the first lines that need a person. Lines that were left out knowingly do not spoil it."""
    result = as_json(order, seen)
    if seen.tally.left_out:
        result["left_out"] = seen.tally.left_out
    problems = lines_page(order, Show.PROBLEMS, teams=None, size=SHOW_PROBLEMS).rows
    if problems:
        result["problems"] = [problem_of(line) for line in problems]
    return {"success": order.finished_at is not None and result["issued"] + seen.tally.left_out == result["total"]} | result


def _only_people_can_help(order: BulkOrder, seen: Progress) -> bool:
    """Nothing moves any more, and nothing will without somebody's doing."""
    tally = seen.tally
    return order.state == BulkOrder.State.PAUSED or (tally.awaiting_approval > 0 and not tally.waiting and not tally.under_way)


def _why_not(order: BulkOrder, seen: Progress) -> str:
    tally = seen.tally
    if seen.waits_for:
        return seen.waits_for
    if order.finished_at is None:
        return (
            f"Not finished yet: {tally.issued} of {tally.total} issued. Look again with `manage.py bulk_issue --watch {order.public_id}`."
        )
    return f"{tally.not_issued} of {tally.total} lines could not be issued" + (
        f", {tally.cancelled} were cancelled." if tally.cancelled else "."
    )
