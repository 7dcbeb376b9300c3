"""The first page: what needs the person first, then what belongs to the teams, then what is under way.

Each list is short and bounded; each line has one thing to do. What a role adds is on the same page,
so a person with a role and a team has one home.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from certs.enums import RequestState as S
from certs.inbox.inbox import inbox_of
from certs.inventory import (
    CertificateFilter,
    CertificateState,
    StateGroup,
    active,
    states_of,
    with_key_blocked,
)
from certs.inventory.figures import state_figures
from certs.models import Certificate, CertificateRequest, Team
from certs.requests.states import UNFINISHED
from certs.requests.waiting_reasons import waiting_reasons
from certs.views.access import page
from certs.views.navigation import navigation_of
from certs.views.teams.teams import without_team
from db.clock import database_now

NEEDS, SHOWN, ROWS, OPEN = 5, 8, 8, 5


@dataclass(frozen=True, slots=True)
class Figure:
    """How many certificates are in a state, and where they are listed."""

    label: str
    count: int
    url: str


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The home of the signed-in person, by teams and roles."""
    if way := request.GET.get("via"):  # links of earlier releases, in mails and bookmarks
        return redirect("new-csr" if way == "csr" else "new")
    navigation, now = navigation_of(request), database_now()
    if navigation.only_looks:
        return redirect("estate")
    teams = navigation.teams
    if not teams and not navigation.sees_every_team:
        return without_team(request)
    rows = _certificates(teams)
    inbox = inbox_of(navigation.reader, teams=teams, most=NEEDS, now=now)
    counts, counted_at = state_figures() if navigation.sees_every_team else ({}, None)
    certificates = _by_end(rows, now)
    requests = _open_requests(teams)
    context = {
        "teams": teams,
        "team": teams[0] if teams else None,
        "tasks": inbox.matters[:SHOWN],
        "more": bool(inbox.more) or len(inbox.matters) > SHOWN,
        "certificates": certificates,
        "requests": _with_reasons(requests),
        "is_new": bool(teams) and not certificates and not requests,
        "figures": _figures(counts),
        "counted_at": counted_at,
        "example": f"https for {teams[0].example_name}" if teams else "",
        "now": now,
    }
    return render(request, "portal/home.html", context)


def _certificates(teams: Sequence[Team]) -> QuerySet[Certificate]:
    """Return those of the person's teams; for a role without a team all, for it sees every team."""
    rows = Certificate.objects.all()
    return rows.filter(team__in=teams) if teams else rows


def _by_end(rows: Any, now: datetime) -> list[tuple[Certificate, CertificateState]]:
    nearest = list(with_key_blocked(active(rows, now=now), now).select_related("team", "request").order_by("not_after", "pk")[:ROWS])
    states = states_of([row.pk for row in nearest], now)
    return [(row, states[row.pk]) for row in nearest]


def _open_requests(teams: Sequence[Team]) -> list[CertificateRequest]:
    """Requests of people that are under way: those that wait for an approval, then the others, newest first.

    Two queries, each from an index of few rows: the states of all requests are in no index.
    """
    if not teams:
        return []
    rows = CertificateRequest.objects.filter(team__in=teams, bulk_item__isnull=True).select_related("team", "requester", "issuer")
    waiting = list(rows.filter(state=S.AWAITING_APPROVAL).order_by("-pk")[:OPEN])
    under_way = list(rows.filter(state__in=UNFINISHED).order_by("-state_changed_at")[:OPEN])
    return [*waiting, *under_way][:OPEN]


def _with_reasons(requests: Sequence[CertificateRequest]) -> list[tuple[CertificateRequest, str]]:
    reasons = waiting_reasons(requests)
    return [(row, reasons.get(row.pk, "").rstrip(".")) for row in requests]


def _figures(counts: dict[CertificateState, int]) -> list[Figure]:
    """The kept counts that a person acts on. Each leads to the list of what it counts."""
    if not counts:
        return []
    due = counts.get(CertificateState.RENEW_SOON, 0) + counts.get(CertificateState.NEEDS_YOU, 0)
    in_use = (CertificateState.VALID, CertificateState.RENEW_SOON, CertificateState.RENEWING, CertificateState.NEEDS_YOU)
    return [
        Figure("in use", sum(counts.get(state, 0) for state in in_use), CertificateFilter(state=StateGroup.ACTIVE).url()),
        Figure("due for renewal", due, CertificateFilter(state=StateGroup.DUE).url()),
        *(
            Figure(label, counts.get(state, 0), CertificateFilter(state=state).url())
            for state, label in (
                (CertificateState.NEEDS_YOU, "need a person"),
                (CertificateState.EXPIRED, "expired"),
                (CertificateState.REVOKED, "revoked"),
            )
        ),
    ]
