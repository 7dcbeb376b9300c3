"""Readiness: shorter lives, and post-quantum signatures."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certs.authorities.overview import all_cas
from certs.estate import overview, quantum, readiness
from certs.inventory.counting import Kind
from certs.inventory.figures import figures_of
from certs.views.access import page
from certs.views.estate.estate import teams_on_page
from db.clock import database_now


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """What shorter lives and new algorithms would need. CAs are shown to the roles that see every team."""
    teams, now = teams_on_page(request), database_now()
    figures = figures_of(teams)
    cas = all_cas() if teams is None else []
    rows, more = overview.not_automated(figures, teams)
    context = {
        "now": now,
        "counted_at": figures.counted_at,
        "active": figures.count(Kind.ACTIVE),
        "regimes": readiness.regimes(figures),
        "loads": readiness.loads(figures, cas),
        "by_person": rows,
        "more_teams": more,
        "families": quantum.families(figures),
        "long_lived": quantum.long_lived(figures),
        "ca_keys": quantum.ca_keys(cas),
        "support": quantum.support() if teams is None else [],
        "disallowed": quantum.DISALLOWED,
        "sees_every_team": teams is None,
    }
    return render(request, "estate/readiness.html", context)
