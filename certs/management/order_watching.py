"""Watching a bulk order in the terminal until it has ended, and telling its end: the same for every command that makes one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from audit.clock import database_now
from certs.intake.spec import IssuePlan
from certs.models import BulkItem, BulkOrder, CertificateRequest
from certs.terms import RequestState as S
from certs.workflow.answers import answer
from certs.workflow.bulk.drafting import lines_of
from certs.workflow.bulk.items import chosen_outcomes
from certs.workflow.bulk.ordering import Wish, order_at_once
from certs.workflow.bulk.progress import Progress, as_json, progress
from certs.workflow.issuance import Requester

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
    order = order_at_once(lines_of(plan), requester=requester, title=title, wish=Wish(), issuer=issuer, notes=plan.notes)
    told = watch(order, wait=wait, tell=tell, started=started)
    rows = CertificateRequest.objects.filter(bulk_item__order=order).order_by("bulk_item__number")
    return told | {"certificates": [answer(row) for row in rows[:SHOW_CERTIFICATES]], "notes": list(plan.notes)}


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
    told = _ended(order, seen) | {"seconds": round(time.monotonic() - started, 2)}
    if not told["success"]:
        told["error"] = _why_not(order, seen, told["failed"])
    return told


def _line(order: BulkOrder, seen: Progress) -> str:
    tally = seen.tally
    filled = BAR * tally.ended // max(1, tally.total)
    end = f", ends {seen.ends_at:%H:%M:%S} UTC" if seen.ends_at else ""
    line = f"[{'#' * filled}{'.' * (BAR - filled)}] {tally.issued}/{tally.total} issued, {seen.rate:.0f}/s{end} {seen.waits_for}"
    return f"\r{order.public_id} {line[:150]:<150}"


def _ended(order: BulkOrder, seen: Progress) -> dict[str, Any]:
    """Lines that could not be read were never submitted; unless they were left out knowingly, they count as failed."""
    left_out = list(order.items.exclude(outcome__in=chosen_outcomes(order)).order_by("number"))
    unread = [item for item in left_out if item.outcome == BulkItem.Outcome.INVALID] if order.with_refused else []
    told = as_json(order, seen)
    told["total"] += len(unread)
    told["failed"] += len(unread)
    if len(left_out) > len(unread):
        told["left_out"] = len(left_out) - len(unread)
    problems = [{"line": item.source, "name": item.common_name, "error": item.reason} for item in unread]
    problems = [*problems, *_problems(order)][:SHOW_PROBLEMS]
    if problems:
        told["problems"] = problems
    return {"success": order.finished_at is not None and told["issued"] == told["total"]} | told


def _only_people_can_help(order: BulkOrder, seen: Progress) -> bool:
    """Nothing moves any more, and nothing will without somebody's doing."""
    tally = seen.tally
    return order.state == BulkOrder.State.PAUSED or (tally.awaiting_approval > 0 and not tally.waiting and not tally.under_way)


def _problems(order: BulkOrder) -> list[dict[str, str]]:
    rows = CertificateRequest.objects.filter(bulk_item__order=order, state__in=(S.FAILED, S.REJECTED)).select_related("bulk_item")
    return [
        {"line": row.bulk_item.source if row.bulk_item else "", "name": row.common_name, "error": row.error, "suggestion": row.suggestion}
        for row in rows.order_by("pk")[:SHOW_PROBLEMS]
    ]


def _why_not(order: BulkOrder, seen: Progress, failed: int) -> str:
    tally = seen.tally
    if seen.waits_for:
        return seen.waits_for
    if order.finished_at is None:
        return (
            f"Not finished yet: {tally.issued} of {tally.total} issued. Look again with `manage.py bulk_issue --watch {order.public_id}`."
        )
    return f"{failed} of {tally.ended + failed - tally.failed - tally.refused} lines could not be issued" + (
        f", {tally.cancelled} were cancelled." if tally.cancelled else "."
    )
