"""The estate page: what ends in 30 days and will not renew itself, whose it is, and the state of the rest."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certs.enums import RequestState
from certs.estate import charts, overview
from certs.estate.compliance import line_of
from certs.estate.ending import ending
from certs.estate.machines import parts
from certs.estate.night import CHECK, night_of
from certs.inventory.counting import Kind
from certs.inventory.figures import figures_of
from certs.models import Certificate, CertificateRequest
from certs.models.people.permission import teams_seen_by
from certs.schedules.machinery import job_of
from certs.views.access import page
from db.clock import database_now


def teams_on_page(request: HttpRequest) -> frozenset[int] | None:
    """Return the teams whose certificates the page counts; None for all.

    Raises Http404 for an account without a team and without a role: it has no estate.
    """
    teams = teams_seen_by(request.user)
    if teams is not None and not teams:
        raise Http404
    return teams


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Everything on one page, in the order in which a person acts on it."""
    teams, now = teams_on_page(request), database_now()
    figures = figures_of(teams)
    certificates = Certificate.objects.all() if teams is None else Certificate.objects.filter(team__in=teams)
    allowed = overview.allowed_now(now)
    keys = overview.keys(figures, allowed)
    weeks, line = overview.weeks(figures), line_of(teams, now=now)
    listed = ending(certificates, day=figures.day, now=now)
    rows, more_teams = overview.team_rows(figures, teams)
    soon, whose = overview.soon(figures, teams, listed)
    context: dict[str, Any] = {
        "now": now,
        "counted_at": figures.counted_at,
        "active": figures.count(Kind.ACTIVE),
        "active_url": figures.url(Kind.ACTIVE),
        "soon": soon,
        "soon_url": figures.url(Kind.NEED, overview.SOON),
        "listed": listed,
        "unlisted": max(0, soon - len(listed)),
        "whose": whose,
        "needs": [*overview.needs(figures), *overview.weak_keys(figures, allowed)],
        "approvals": _waiting_approvals(teams),
        "ends": charts.ends_by_week(weeks),
        "keys": keys,
        "most_keys": max((row.number.count for row in keys), default=0),
        "policy_version": allowed.version,
        "cas": overview.cas(figures),
        "teams": rows,
        "more_teams": more_teams,
        "line": line,
        "compliance": charts.compliance_line(line),
        "night": night_of(figures, job_of(CHECK, now)),
        "parts": parts() if teams is None else [],
        "sees_every_team": teams is None,
    }
    return render(request, "estate/index.html", context)


def _waiting_approvals(teams: frozenset[int] | None) -> int:
    """Return how many requests wait for an approval; from an index that holds only those."""
    rows = CertificateRequest.objects.filter(state=RequestState.AWAITING_APPROVAL)
    return (rows if teams is None else rows.filter(team__in=teams)).count()
