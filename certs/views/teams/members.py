"""What is done to a member of a team: made a lead, a lead no more."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from certs.errors import NotFound
from certs.people.members import find_member, set_lead
from certs.people.teams import find_team
from certs.views.access import authority_of, page


@page
@require_POST
def act(request: HttpRequest, slug: str, pk: int, verb: str) -> HttpResponse:
    """`lead` and `member`: what the person is from now on."""
    authority = authority_of(request)
    team = find_team(slug, authority)
    authority.check_may_manage(team)
    person = find_member(team, pk)
    if verb not in ("lead", "member"):
        raise NotFound("There is no such action.")
    set_lead(team, person, leads=verb == "lead", authority=authority)
    words = f"{person} leads team {team.name} now." if verb == "lead" else f"{person} is a member of team {team.name} and leads it no more."
    messages.success(request, words, extra_tags="good")
    return redirect("team-people", slug)
