"""One confirmation each: a person leaves a team, or loses all access."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from certs.errors import InputRefused, NotFound
from certs.models import Team
from certs.people import departure
from certs.people.members import find_member
from certs.people.preview import ChangedSince
from certs.people.teams import find_team
from certs.views.access import authority_of, page

MOST_OWNERS = 200  # in a choice


@page
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove all access of a person."""
    authority = authority_of(request)
    authority.check_manages_people()
    person = get_user_model().objects.filter(pk=pk).first()
    if person is None:
        raise NotFound("There is no such person.")
    back = reverse("person", args=[pk])
    if request.method != "POST":
        return _show(request, departure.plan_removal(person, authority=authority), back)
    try:
        departure.remove_access(person, **_given(request.POST), authority=authority)
    except (ChangedSince, InputRefused) as exc:
        return _show(request, departure.plan_removal(person, authority=authority), back, error=exc)
    messages.success(request, f"{person} has no access any more.", extra_tags="good")
    return redirect("person", pk)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def leave(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Take a person out of a team; a member takes the own person out."""
    authority = authority_of(request)
    team = find_team(slug, authority)
    if request.user.pk != pk:
        authority.check_may_manage(team)
    person = find_member(team, pk)
    back = reverse("team-people", args=[slug])
    if request.method != "POST":
        return _show(request, departure.plan_leaving(person, team, authority=authority), back)
    try:
        departure.leave_team(person, team, **_given(request.POST), authority=authority)
    except (ChangedSince, InputRefused) as exc:
        return _show(request, departure.plan_leaving(person, team, authority=authority), back, error=exc)
    messages.success(request, f"{person} is not in team {team.name} any more.", extra_tags="good")
    return redirect("teams" if request.user.pk == pk else back)


def _given(form: Any) -> dict[str, Any]:
    owners: Mapping[str, str] = {name: form[name] for name in form if name.startswith("owner-")}
    return {"shown": form.get("shown", ""), "owners": owners, "remove_webhooks": form.get("webhooks") == "remove"}


def _show(
    request: HttpRequest,
    found: departure.Departure,
    back: str,
    *,
    error: ChangedSince | InputRefused | None = None,
) -> HttpResponse:
    people = _possible_owners(found)
    context = {
        "found": found,
        "person": found.person,
        "own": found.person.pk == request.user.pk,
        "owned": [(one, people[one.team.pk][:MOST_OWNERS], request.POST.get(one.field, "")) for one in found.owned],
        "webhooks_choice": request.POST.get("webhooks", "keep"),
        "error": error,
        "differences": error.differences if isinstance(error, ChangedSince) else (),
        "back": back,
    }
    return render(request, "people/departure.html", context, status=error.status if error else 200)


def _possible_owners(found: departure.Departure) -> dict[int, list[Any]]:
    """Return by the id of a team its active members but the person, by name. One query: a person may own certificates of forty teams."""
    people: dict[int, list[Any]] = {one.team.pk: [] for one in found.owned}
    members = Team.members.through.objects.filter(team__in=people, user__is_active=True).exclude(user=found.person.pk)
    for member in members.select_related("user").order_by("user__username"):
        people[member.team_id].append(member.user)
    return people
