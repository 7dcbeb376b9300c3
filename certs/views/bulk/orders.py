"""The list of orders, and one order: its draft, or how far it is, with its lines and what may be done about it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.access.permissions import Permission
from certs.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.bulk.drafting.correct import CELLS, cells_of, correct_line
from certs.bulk.drafting.draft import apply_suggestions, outcome_counts
from certs.bulk.line_pages import Show, Sort, hidden_lines, lines_page
from certs.bulk.lines import suggestion_applies
from certs.bulk.progress import Progress, Tally, counts, progress
from certs.bulk.submit import submit_order
from certs.enums import RefusalClass
from certs.errors import InputRefused
from certs.inventory import page_of
from certs.models import BulkOrder, teams_seen_by
from certs.views.access import authority_of, page
from certs.views.bulk.order_access import order_of
from certs.views.numbers import number_of
from db.clock import database_now

State = BulkOrder.State
# (which lines, what the tab says, what counts them)
_DRAFT_TABS = (
    (Show.ALL, "All"),
    (Show.ALLOWED, "Will be issued"),
    (Show.NEEDS_APPROVAL, "Need approval"),
    (Show.DENIED, "Refused"),
    (Show.INVALID, "Cannot be read"),
    (Show.DUPLICATE, "Duplicates"),
)
_ORDER_TABS = (
    (Show.ISSUED, "Issued"),
    (Show.UNDER_WAY, "Under way"),
    (Show.HELD, "Held"),
    (Show.AWAITING_APPROVAL, "Need approval"),
    (Show.WAITING, "Not begun"),
    (Show.REFUSED, "Refused"),
    (Show.FAILED, "Failed"),
    (Show.INVALID, "Cannot be read"),
    (Show.CANCELLED, "Cancelled"),
    (Show.LEFT_OUT, "Left out"),
)
FAST, SLOW = "2s", "10s"
_LOOKED_AT = 1000  # refused lines
_MOST_CHARACTERS = 4096  # of a cell


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    rows = BulkOrder.objects.visible_to(request.user).select_related("team", "requester")
    state = request.GET.get("state", "")
    if state in State.values:
        rows = rows.filter(state=state)
    found = page_of(rows, before=number_of(request.GET.get("before")))
    seen = [_row(order) for order in found.rows]
    return render(request, "bulk/orders.html", {"page": found, "rows": seen, "state": state, "states": State.choices})


def _row(order: BulkOrder) -> dict[str, Any]:
    """Counted line by line only while it runs: a list of old orders of fifty thousand lines must not count them all."""
    is_open = order.state in (State.RUNNING, State.PAUSED)
    return {"order": order, "tally": counts(order) if is_open else None, "lines": order.total or order.items.count()}


@page
@require_safe
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    order = order_of(request, public_id)
    if order.submitted_at is None:
        counted = outcome_counts(order)
        return render(request, "bulk/draft.html", _lines(request, order, counted) | _draft(request, order, counted))
    seen = progress(order, now=database_now())
    # The lines are read after the progress: what they miss still makes the page ask again.
    return render(request, "bulk/order.html", _running(request, order, seen) | _lines(request, order, _by_tab(seen.tally)))


@page
@require_safe
def lines(request: HttpRequest, public_id: str) -> HttpResponse:
    """The table of lines alone, as the page puts it in place of the one it has."""
    order = order_of(request, public_id)
    counted = outcome_counts(order) if order.submitted_at is None else _by_tab(counts(order))
    return render(request, "bulk/lines.html", _lines(request, order, counted))


@page
@require_safe
def live(request: HttpRequest, public_id: str) -> HttpResponse:
    """The part of a submitted order's page that changes; it asks for itself until the order has ended."""
    order = order_of(request, public_id)
    if order.submitted_at is None:
        raise Http404
    context = _running(request, order, progress(order, now=database_now()))
    moved = request.GET.get("said", "") != context["key"]
    response = render(request, "bulk/live.html", context | {"moved": moved})
    if moved:
        response["HX-Trigger"] = "order-moved"  # the table of lines asks for itself again
    return response


def _lines(request: HttpRequest, order: BulkOrder, counted: dict[str, int]) -> dict[str, Any]:
    """`counted`: the lines by what the tabs show, read once for the page."""
    given = request.GET
    fallback = Show.ALL if order.submitted_at is None else Show.PROBLEMS
    show = Show(given["show"]) if given.get("show") in list(Show) else fallback
    sort = Sort(given["sort"]) if given.get("sort") in list(Sort) else Sort.LINE
    after = number_of(given.get("after"))
    outcome = "Reason" if order.submitted_at is None else "What came of it"
    teams = teams_seen_by(request.user)
    found = lines_page(order, show, teams=teams, sort=sort, after=after)
    may_act = authority_of(request).may_act_on(order)
    return {
        "order": order,
        "is_draft": order.submitted_at is None,
        "lines": found,
        "hidden": hidden_lines(order, teams),
        "show": str(show),
        "sort": str(sort),
        "after": after,
        "tabs": _tabs(order, show, counted),
        "columns": [_column(name, label, sort) for name, label in (("line", "Line"), ("name", "Names"), ("reason", outcome))],
        "may_act": may_act,
        "may_correct": may_act and order.state == State.DRAFT,
    }


def _column(name: str, label: str, sort: Sort) -> dict[str, str]:
    """A column's title that sorts: up first, down when it is up already."""
    here = sort.removeprefix("-") == name
    direction = ("descending" if sort.startswith("-") else "ascending") if here else ""
    return {"name": name, "label": label, "direction": direction, "sort": f"-{name}" if direction == "ascending" else name}


def _by_tab(tally: Tally) -> dict[str, int]:
    found = {name: getattr(tally, name) for name in Tally.__dataclass_fields__}
    return found | {"problems": tally.not_issued + tally.left_out, "all": tally.total}


def _tabs(order: BulkOrder, show: Show, counted: dict[str, int]) -> list[dict[str, Any]]:
    if order.submitted_at is None:
        counted = counted | {"all": sum(counted.values()), "duplicate": order.items.exclude(duplicate="").count()}
        tabs: tuple[tuple[Show, str], ...] = _DRAFT_TABS
    else:
        tabs = ((Show.PROBLEMS, "Problems"), *_ORDER_TABS, (Show.ALL, "All"))
    return [
        {"show": str(name), "label": label, "count": counted.get(name, 0), "here": name == show}
        for name, label in tabs
        if counted.get(name, 0) or name in (show, Show.ALL)
    ]


def _draft(request: HttpRequest, order: BulkOrder, counted: dict[str, int]) -> dict[str, Any]:
    good = counted["allow"] + counted["needs_approval"]
    return {
        "counted": counted,
        "good": good,
        "all": sum(counted.values()),
        "bad": counted["deny"] + counted["invalid"],
        "is_open": order.state == State.DRAFT,
        "suggested": _has_suggestion(order),
        "may_act": authority_of(request).may_act_on(order),
    }


def _has_suggestion(order: BulkOrder) -> bool:
    """Whether the policy's suggestion can be applied to a line; looked for among the first refused ones."""
    refused = order.items.filter(outcome="deny", suggestion__isnull=False).order_by("number")
    return any(suggestion_applies(item) for item in refused[:_LOOKED_AT])


def _took(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _running(request: HttpRequest, order: BulkOrder, seen: Progress) -> dict[str, Any]:
    tally, authority = seen.tally, authority_of(request)
    may = authority.may_act_on(order)
    may_operate = may or authority.may_operate(order)
    paused = order.state == State.PAUSED
    all_ended = tally.ended == tally.total  # the order itself ends a moment later
    moving = bool(tally.under_way) or (order.state == State.RUNNING and (bool(tally.waiting) or all_ended))
    tens = 10 * (10 * tally.ended // max(1, tally.total))
    labels = [(str(name), label, getattr(tally, name)) for name, label in _ORDER_TABS]
    return {
        "order": order,
        "seen": seen,
        "tally": tally,
        "percent": 100 * tally.ended // max(1, tally.total),
        "bar": _bar(tally),
        "counts": [{"label": label, "count": count} for _, label, count in labels if count],
        "tens": tens,
        "took": _took(seen.seconds),
        # Changes when something is worth saying aloud or the buttons differ, not with every certificate.
        "key": f"{order.state}.{tens}.{bool(tally.held)}.{bool(tally.issued)}.{tally.not_issued}.{bool(tally.waiting)}"
        f".{order.finished_at is not None}.{order.paused_by_security_team}.{bool(seen.waits_for)}",
        "every": "" if order.finished_at else FAST if moving else SLOW,
        "may_act": may,
        "may_pause": may_operate and order.state == State.RUNNING and bool(tally.waiting),
        "may_take_over_pause": paused and not order.paused_by_security_team and authority.operates_for_every_team,
        "may_resume": paused and authority.may_resume(order),
        "resumed_by_security_team": paused and may_operate and not authority.may_resume(order),
        "may_cancel": may and order.state in (State.RUNNING, State.PAUSED) and bool(tally.waiting),
        "may_retry": may_operate and tally.failed > 0,
        "may_decide": bool(tally.awaiting_approval) and authority.holds(Permission.DECIDE_REQUESTS),
        "ended": order.finished_at is not None,
    }


def _bar(tally: Tally) -> list[dict[str, Any]]:
    """Pieces of the bar in thousandths, in the order in which they stand."""
    pieces, at = [], 0.0
    counted = {"issued": tally.issued, "refused": tally.refused + tally.invalid, "failed": tally.failed}
    counted |= {"cancelled": tally.cancelled + tally.left_out, "under_way": tally.under_way}
    for name, count in counted.items():
        width = 1000 * count / max(1, tally.total)
        if width:
            pieces.append({"name": name, "x": f"{at:.2f}", "width": f"{width:.2f}"})
        at += width
    return pieces


@page
@require_POST
def submit(request: HttpRequest, public_id: str) -> HttpResponse:
    """Once, however often the button is clicked."""
    order = order_of(request, public_id)
    submit_order(order, authority=authority_of(request), with_refused=request.POST.get("lines") == "all")
    return redirect("bulk-order", public_id)


@page
@require_POST
def suggestions(request: HttpRequest, public_id: str) -> HttpResponse:
    """Take the policy's suggestion for one line, or for all."""
    order = order_of(request, public_id)
    line = number_of(request.POST.get("line"))
    changed = apply_suggestions(order, authority=authority_of(request), numbers=[line] if line else None)
    if changed:
        messages.success(request, f"{changed} line{'s were' if changed > 1 else ' was'} changed as the policy suggested, and judged again.")
    else:
        messages.warning(request, "Nothing was changed: no suggestion can be taken here. A refused CSR has to be made anew.")
    back = reverse("bulk-order", args=[public_id])
    show = request.POST.get("show", "")
    return redirect(f"{back}?show={show}" if show in list(Show) else back)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def line(request: HttpRequest, public_id: str, number: int) -> HttpResponse:
    """The form that corrects one line of a draft; POST does it."""
    order, authority = order_of(request, public_id), authority_of(request)
    item = order.items.filter(number=number).first()
    if item is None:
        raise Http404
    authority.check_may_act(order)
    cells, error = cells_of(item), None
    if request.method == "POST":
        cells = {name: request.POST.get(name, "")[:_MOST_CHARACTERS] for name in CELLS}
        try:
            corrected = correct_line(order, number, cells, authority=authority)
        except InputRefused as exc:
            secret = getattr(exc, "refusal", "") == RefusalClass.SECRET_PASTED
            cells, error = (cells_of(item) if secret else cells), exc
        else:
            said = "is corrected and will be issued" if corrected.outcome == "allow" else "was changed, and judged again"
            messages.success(request, f"{item.source[:1].upper()}{item.source[1:]} {said}.")
            back = reverse("bulk-order", args=[public_id])
            show = request.POST.get("show", "")
            return redirect(f"{back}?show={show}" if show in list(Show) else back)
    context = {"order": order, "item": item, "cells": cells, "error": error}
    return render(request, "bulk/line.html", context, status=error.status if error else 200)


@page
@require_POST
def act(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Pause, resume, cancel the rest (or throw a draft away), try the failed lines again."""
    order, authority = order_of(request, public_id), authority_of(request)
    match verb:
        case "pause":
            pause(order, authority=authority)
        case "resume":
            go_on(order, authority=authority)
        case "cancel":
            cancel_rest(order, authority=authority)
        case "retry":
            count = retry_failed(order, authority=authority)
            messages.success(
                request, f"{count} line{'s go' if count > 1 else ' goes'} on from where {'they' if count > 1 else 'it'} stopped."
            )
        case _:
            raise Http404
    return redirect("bulk-order", public_id)
