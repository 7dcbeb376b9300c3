"""One team: its names, people, certificates, tokens and mails, a tab each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from certs.errors import Conflict, InputRefused
from certs.inventory import CertificateFilter, active, states_of, with_key_blocked
from certs.models import ApiToken, Certificate, Team
from certs.notifications.audience import team_of
from certs.notifications.topics import Topic
from certs.notifications.webhooks import webhooks_of
from certs.people.domains import domains_of
from certs.people.facts import members_of
from certs.people.invitations import invitations_seen_by
from certs.people.joining import open_requests_for
from certs.people.teams import OF_OFFICERS, change_team, find_team
from certs.views.access import authority_of, page
from certs.views.kept_forms import typed_of
from db.clock import database_now

ROWS = 25
_TABS = (
    ("Names", "team"),
    ("People", "team-people"),
    ("Certificates", "team-certificates"),
    ("Tokens", "team-tokens"),
    ("Mails", "team-mails"),
)


def tab(request: HttpRequest, team: Team, name: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Render a tab of the team's page."""
    authority = authority_of(request)
    full = {
        "team": team,
        "tabs": [(label, reverse(view, args=[team.slug]), view == name) for label, view in _TABS],
        "may_manage": authority.may_manage(team),
        "manages_people": authority.manages_people,
        "is_member": authority.belongs_to(team),
        "now": database_now(),
        **context,
    }
    return render(request, f"teams/{name.replace('-', '_')}.html", full, status=status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def names(request: HttpRequest, slug: str) -> HttpResponse:
    """The domains of the team. POST changes the default domain, the name and the organization."""
    return _settings(request, slug, "team", ("default_domain", *OF_OFFICERS), _names)


def _names(team: Team) -> dict[str, Any]:
    return {"domains": domains_of(team)}


@page
@require_http_methods(["GET", "HEAD", "POST"])
def mails(request: HttpRequest, slug: str) -> HttpResponse:
    """Who gets the team's mails. POST changes the team's address."""
    return _settings(request, slug, "team-mails", ("email",), _mails)


def _mails(team: Team) -> dict[str, Any]:
    return {"recipients": team_of(team).recipients(Topic.RENEWED), "webhooks": webhooks_of(team).count()}


def _settings(
    request: HttpRequest,
    slug: str,
    name: str,
    fields: tuple[str, ...],
    about: Callable[[Team], dict[str, Any]],
) -> HttpResponse:
    """A tab with a form for some of what is written about the team."""
    authority = authority_of(request)
    team = find_team(slug, authority)
    if request.method != "POST":
        return tab(request, team, name, {"typed": team, **about(team)})
    given = {field: request.POST[field] for field in fields if field in request.POST}
    try:
        change_team(team, given, authority=authority)
    except (InputRefused, Conflict) as exc:
        context = {"error": exc, "typed": typed_of(request), **about(team)}
        return tab(request, team, name, context, status=exc.status)
    messages.success(request, "Saved.", extra_tags="good")
    return redirect(name, slug)


@page
@require_safe
def people(request: HttpRequest, slug: str) -> HttpResponse:
    """Members and leads, who asks to join, and who is invited."""
    authority = authority_of(request)
    team = find_team(slug, authority)
    return tab(request, team, "team-people", people_context(request, team))


def people_context(request: HttpRequest, team: Team) -> dict[str, Any]:
    """What the tab of the team's people shows."""
    authority = authority_of(request)
    manages = authority.may_manage(team)
    return {
        "members": members_of(team),
        "waiting": open_requests_for(authority).filter(team=team) if manages else (),
        "invitations": invitations_seen_by(authority).filter(team=team)[:100] if manages else (),
        "sees_people": authority.sees() is None,
    }


@page
@require_safe
def certificates(request: HttpRequest, slug: str) -> HttpResponse:
    """The certificates of the team that end next."""
    authority = authority_of(request)
    team = find_team(slug, authority)
    now = database_now()
    rows = with_key_blocked(active(Certificate.objects.filter(team=team), now=now), now).select_related("request", "owner")
    nearest = list(rows.order_by("not_after", "pk")[:ROWS])
    states = states_of([row.pk for row in nearest], now)
    context = {"rows": [(row, states[row.pk]) for row in nearest], "all": CertificateFilter(team=team.slug).url()}
    return tab(request, team, "team-certificates", context)


@page
@require_safe
def tokens(request: HttpRequest, slug: str) -> HttpResponse:
    """The API tokens that act for the team now."""
    authority = authority_of(request)
    team = find_team(slug, authority)
    living = ApiToken.objects.filter(team=team, revoked_at=None, expires_at__gt=database_now()).select_related("user")
    return tab(request, team, "team-tokens", {"rows": living.order_by("expires_at", "pk")[:200]})
