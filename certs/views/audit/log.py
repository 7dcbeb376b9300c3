"""The audit log: a search for anything that people see on pages, in plain words, and the same as a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_safe

from audit.events import encode_data
from audit.models import AuditEvent
from certs.access.permissions import Permission
from certs.access.time_zones import zone_of
from certs.errors import InputRefused
from certs.evidence.events import EventPage, page_of
from certs.evidence.export import export_events
from certs.evidence.kinds import EventKind
from certs.evidence.meaning import Meaning
from certs.evidence.query import AuditQuery
from certs.evidence.seal import seal_of
from certs.evidence.subjects import names_of, recent_sources
from certs.evidence.witnesses import witness_lines
from certs.evidence.words import words_of
from certs.views.access import authority_of, page
from certs.views.numbers import id_of
from db.clock import database_now

_CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
_PAGE_OF = {"request": "request", "certificate": "certificate-history", "bulk": "bulk-order"}


@dataclass(frozen=True, slots=True)
class Row:
    """One event as the page shows it. `about`: the address of what it happened to, and `name` what people call that."""

    event: AuditEvent
    name: str
    words: str
    data: str
    about: str
    leaf: Any


@dataclass(frozen=True, slots=True)
class Toggle:
    """A kind of events, whether it is chosen, and the address with the opposite choice."""

    label: str
    chosen: bool
    url: str


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The newest events of a search, and what the search meant."""
    authority, now = authority_of(request), database_now()
    wrong: InputRefused | None = None
    try:
        query = AuditQuery.from_query(request.GET, request.GET.getlist("kind"))
    except InputRefused as exc:
        query, wrong = AuditQuery(), exc
    found, meaning = EventPage([]), Meaning(query.text)
    sees_all = authority.holds(Permission.SEE_EVERY_TEAM)
    recent = not query.text and not sees_all
    if wrong is None:
        selection, meaning = query.selection(authority, zone_of(request.user))
        if recent:
            selection = replace(selection, sources=recent_sources(authority))
        found = page_of(selection, before=id_of(request.GET.get("before")), after=id_of(request.GET.get("after")))
    names = names_of({event.subject for event in found.events})
    context = {
        "query": query,
        "wrong": wrong,
        "typed": {name: request.GET.get(name, "") for name in ("q", "from", "to")},
        "kinds": [_toggle(query, one) for one in EventKind],
        "meaning": meaning,
        "rows": [_row(event, names.get(event.subject, "")) for event in found.events],
        "older": _address(query, before=found.older),
        "newer": _address(query, after=found.newer),
        "export": f"?{urlencode(query.to_query())}" if query.to_query() else "",
        "may_export": sees_all or bool(meaning.things),
        "sees_all": sees_all,
        "recent": recent,
        "seal": seal_of(now),
        "witnesses": witness_lines(now),
        "now": now,
    }
    return render(request, "audit/index.html", context, status=400 if wrong else 200)


@page
@require_GET
def export(request: HttpRequest, form: str) -> StreamingHttpResponse:
    """The events of the search as CSV or JSON lines, made while they are sent. The log has who took them."""
    query = AuditQuery.from_query(request.GET, request.GET.getlist("kind"))
    lines = export_events(form, query, authority=authority_of(request), zone=zone_of(request.user))
    response = StreamingHttpResponse(lines, content_type=_CONTENT_TYPES[form])
    response["Content-Disposition"] = f'attachment; filename="audit-{database_now():%Y-%m-%d}.{form}"'
    return response


def _row(event: AuditEvent, name: str) -> Row:
    kind, _, own = event.subject.partition(":")
    about = reverse(_PAGE_OF[kind], args=[own]) if kind in _PAGE_OF and own and "/" not in own else ""
    return Row(event, name, words_of(event), encode_data(event.data), about, getattr(event, "leaf", None))


def _address(query: AuditQuery, **place: int) -> str:
    """Return the address of the next page; empty where there is none."""
    return f"?{urlencode([*query.to_query(), *place.items()])}" if any(place.values()) else ""


def _toggle(query: AuditQuery, kind: EventKind) -> Toggle:
    others = [(name, value) for name, value in query.to_query() if (name, value) != ("kind", kind.value)]
    chosen = kind in query.kinds
    fields = others if chosen else [*others, ("kind", kind.value)]
    return Toggle(kind.label, chosen, f"?{urlencode(fields)}" if fields else reverse("audit"))
