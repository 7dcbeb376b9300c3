"""The list of certificates, filtered, sorted and paged by its address, and the same as CSV."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from certs.acts.drafting import MOST_LINES
from certs.errors import InputRefused
from certs.inventory import CertificateFilter, StateGroup
from certs.inventory.listing.export import view_csv
from certs.inventory.listing.listed import Listed, View, counted, listed, view_of
from certs.inventory.listing.paging import Position, Window
from certs.inventory.listing.sorts import Sort
from certs.inventory.listing.strip import Figure, strip
from certs.inventory.listing.typed import read_typed, resolved
from certs.models import VerdictRun
from certs.views.access import authority_of, page
from certs.views.inventory.filter_form import chips, filter_form, named_choices
from certs.views.inventory.views import views_of
from db.clock import database_now
from db.counting import Count

# Sort, heading, and whether it begins with the largest.
_COLUMNS = (
    (Sort.NAME, "Name"),
    (Sort.STATE, "State"),
    (Sort.ENDS, "Ends"),
    (Sort.RENEWAL, "Renews"),
    (Sort.KEY, "Key"),
    (Sort.CA, "CA"),
    (Sort.TEAM, "Team and owner"),
    (Sort.SERVED, "Served"),
)
_EXACT = "exact"  # the value of `total` that asks for a count, however dear


@dataclass(frozen=True, slots=True)
class _Found:
    """What a page lists of a view, and how many it has. `is_kept`: as of the last count of the figures above the list."""

    rows: list[Listed] = field(default_factory=list)
    window: Window = field(default_factory=lambda: Window([]))
    total: Count = field(default_factory=lambda: Count(0, exact=True))
    is_kept: bool = False


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show a page of the inventory. A filter that cannot be read: 400, and no list."""
    now, authority = database_now(), authority_of(request)
    teams = authority.sees()
    if typed := read_typed(request.GET.get("q", "")):
        typed = resolved(typed, named_choices(teams))
        return redirect(f"{request.path}?{urlencode(_query(request) | typed)}")
    wrong: InputRefused | None = None
    sought, sort = CertificateFilter(), ""
    counts, found = request.GET.get("total") == _EXACT, _Found()
    try:
        sought = CertificateFilter.from_query(request.GET)
        sort = request.GET.get("sort", "")
        if counts and request.headers.get("HX-Request"):
            exactly = counted(teams, sought, now=now)
            return render(request, "inventory/total.html", {"total": exactly, "most": MOST_LINES, "replaces": True})
        found = _found(request, view_of(teams, sought, sort, now=now), now=now)
        if counts and not found.total.exact:
            found = replace(found, total=counted(teams, sought, now=now), is_kept=False)
    except InputRefused as exc:
        wrong, sort = exc, ""
    figures, form = strip(teams, now=now), filter_form(request, sought, teams)
    shown = {"q", *(field.name for field in (*form.first, *form.more))}
    acts_for, total, window = authority.acts_for(), found.total, found.window
    context = {
        "rows": found.rows,
        "total": total,
        "kept_at": figures.counted_at if found.is_kept else None,
        "uncounted": not (total.exact or total.over or counts),
        "newer": _address(sought, sort, before=str(window.newer)) if window.newer else "",
        "older": _address(sought, sort, after=str(window.older)) if window.older else "",
        "sought": sought,
        "in_use": sought == CertificateFilter(state=StateGroup.ACTIVE),
        "sort": sort,
        "by_age": sort == Sort.NEWEST,
        "wrong": wrong,
        "form": form,
        # What the form has no field for stays in force when it is sent.
        "kept": [(name, value) for name, value in sought.to_query().items() if name not in shown],
        "chips": chips(sought, form, sort, base=request.path),
        "figures": [_figure(one, sought) for one in figures.figures],
        "counted_at": figures.counted_at,
        "columns": [_column(name, label, sought, sort) for name, label in _COLUMNS],
        "query": urlencode(_with_sort(sought, sort)),
        "filter_query": urlencode(sought.to_query()),
        "may_act": acts_for is None or bool(acts_for),
        "most": MOST_LINES,
        "judged": VerdictRun.objects.filter(pk=1).first() if sought.policy else None,
        "views": views_of(request),
        "now": now,
    }
    return render(request, "inventory/list.html", context, status=400 if wrong else 200)


@page
@require_safe
def download(request: HttpRequest) -> StreamingHttpResponse:
    """The view as CSV, made while it is sent. Refused with 422 where a filter cannot be read."""
    now = database_now()
    sought = CertificateFilter.from_query(request.GET)
    lines = view_csv(authority_of(request), sought, request.GET.get("sort", ""), now=now)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="certificates-{now:%Y-%m-%d}.csv"'
    return response


def _query(request: HttpRequest) -> dict[str, str]:
    return {name: str(value) for name, value in request.GET.items() if value}


def _found(request: HttpRequest, view: View, *, now: datetime) -> _Found:
    after = Position.read(request.GET.get("after", ""), "after")
    before = Position.read(request.GET.get("before", ""), "before") if after is None else None
    window, total = view.page(after=after, before=before)
    return _Found(listed(window.ids, now=now), window, total, view.kept is not None and not total.exact)


def _with_sort(sought: CertificateFilter, sort: str) -> dict[str, str]:
    return sought.to_query() | ({"sort": sort} if sort else {})


def _address(sought: CertificateFilter, sort: str, **more: str) -> str:
    return f"?{urlencode(_with_sort(sought, sort) | more)}"


def _figure(figure: Figure, sought: CertificateFilter) -> dict[str, Any]:
    here = sought == figure.sought
    return {
        "label": figure.label,
        "count": figure.count,
        "is_bad": figure.is_bad and figure.count.number > 0,
        "here": here,
        "url": reverse("certificates") if here else figure.sought.url(),
    }


def _column(name: Sort, label: str, sought: CertificateFilter, sort: str) -> dict[str, str]:
    """Return a heading that sorts: up first, down when it is up already."""
    by_default = not sort and not sought.q and name is Sort.ENDS
    here = by_default or sort.removeprefix("-") == name
    direction = ("descending" if sort.startswith("-") else "ascending") if here else ""
    following = f"-{name}" if direction == "ascending" else name.value
    return {"label": label, "direction": direction, "url": _address(sought, following)}
