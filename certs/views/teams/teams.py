"""The teams that a person may see, a new one, and the request to join one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.errors import Conflict, InputRefused, NotFound, TooMany
from certs.models import JoinRequest, Team
from certs.people import joining
from certs.people.teams import make_team, teams_seen_by
from certs.views.access import authority_of, page
from certs.views.kept_forms import typed_of
from db.clock import database_now

SHOWN = 200


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """GET lists teams; POST asks the team `team` to take the person in."""
    if request.method != "POST":
        return _show(request)
    try:
        asked = joining.ask_to_join(request.POST.get("team", ""), why=request.POST.get("why", ""), authority=authority_of(request))
    except (InputRefused, Conflict, TooMany) as exc:
        return _show(request, error=exc, typed=typed_of(request), status=exc.status)
    messages.success(request, f"Team {asked.team.name} is asked. You are mailed when it answers.", extra_tags="good")
    return redirect("teams")


def _show(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    authority = authority_of(request)
    q = request.GET.get("q", "").strip()[:253]
    rows = list(teams_seen_by(authority, q=q)[: SHOWN + 1])
    context = {
        "rows": rows[:SHOWN],
        "more": len(rows) > SHOWN,
        "q": q,
        "manages": authority.manages_people,
        "sees_every_team": authority.sees() is None,
        "others": joining.teams_to_ask(request.user),
        "asked": joining.own_requests(request.user),
        "waiting": joining.open_requests_for(authority)[:50],
        "own": set(Team.objects.filter(members=request.user.pk).values_list("pk", flat=True)),
        **more,
    }
    return render(request, "teams/index.html", context, status=status)


def without_team(request: HttpRequest, *, status: int = 200) -> HttpResponse:
    """The page of a person who is in no team, in place of one that needs a team: which team to ask."""
    context = {"others": joining.teams_to_ask(request.user), "asked": joining.own_requests(request.user), "now": database_now()}
    return render(request, "portal/no_team.html", context, status=status)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """A new team."""
    authority = authority_of(request)
    authority.check_manages_people()
    if request.method != "POST":
        return render(request, "teams/new.html")
    given = {name: request.POST.get(name, "") for name in ("slug", "name", "email")}
    try:
        team = make_team(**given, authority=authority)
    except (InputRefused, Conflict) as exc:
        context = {"error": exc, "typed": typed_of(request)}
        return render(request, "teams/new.html", context, status=exc.status)
    messages.success(request, f"Team {team.name} is made. Now give it names and people.", extra_tags="good")
    return redirect("team", team.slug)


@page
@require_POST
def join(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Answer a request to join, or take back one's own."""
    authority = authority_of(request)
    row = JoinRequest.objects.select_related("team", "person").filter(pk=pk).first()
    if row is None:
        raise NotFound("There is no such request.")
    match verb:
        case "accept":
            joining.accept(row, authority=authority)
            messages.success(request, f"{row.person} is in team {row.team.name} now.", extra_tags="good")
        case "decline":
            authority.check_may_manage(row.team)
            joining.decline(row, answer=request.POST.get("answer", ""), authority=authority)
            messages.success(request, f"Team {row.team.name} does not admit {row.person}, who is notified by mail.", extra_tags="good")
        case "withdraw":
            joining.withdraw(row, authority=authority)
            return redirect("teams")
        case _:
            raise NotFound("There is no such action.")
    return redirect("team-people", row.team.slug)
