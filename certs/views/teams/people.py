"""People: the list, one person, and what is changed there."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from certs.access.api_tokens import revoke_token
from certs.access.permissions import Permission
from certs.access.roles import ROLE_WORDS
from certs.access.sign_in.required_factors import requires_second_factor, reset_second_factors
from certs.errors import InputRefused, NotFound
from certs.models import ApiToken, Team
from certs.notifications.wording import so_many
from certs.people.facts import PAGE, SHOW, belongings_of, people, roles_of
from certs.people.invitations import invitations_seen_by
from certs.people.members import (
    add_member,
    end_sessions_of,
    give_role,
    is_administrator,
    roles_to_offer,
    take_role,
)
from certs.requests.owner_change import open_change_of
from certs.views.access import authority_of, page
from db.clock import database_now


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The people of the portal, by account name; for those who see every team."""
    authority = authority_of(request)
    if authority.sees() is not None:
        raise NotFound("There is no such page.")
    q, show, after = (request.GET.get(name, "")[:150] for name in ("q", "show", "after"))
    wrong, found = None, []
    try:
        found = people(q=q, show=show, after=after)
    except InputRefused as exc:
        wrong = exc
    kept = {name: value for name, value in (("q", q), ("show", show)) if value}
    context = {
        "rows": found[:PAGE],
        "more": f"?{urlencode(kept | {'after': found[PAGE - 1].username})}" if len(found) > PAGE else "",
        "first": f"?{urlencode(kept)}" if after else "",
        "q": q,
        "show": show,
        "choices": SHOW.items(),
        "wrong": wrong,
        "manages": authority.manages_people,
        "invitations": invitations_seen_by(authority)[:100],
        "now": database_now(),
    }
    return render(request, "people/index.html", context, status=wrong.status if wrong else 200)


def _person(request: HttpRequest, pk: int) -> Any:
    """A person whose page the reader may open: everybody for roles that see every team, else the own one."""
    person = get_user_model().objects.filter(pk=pk).first()
    if person is None or (person.pk != request.user.pk and authority_of(request).sees() is not None):
        raise NotFound("There is no such person.")
    return person


@page
@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Roles in words, teams, sessions, tokens, certificates, second factor."""
    person, authority = _person(request, pk), authority_of(request)
    own = person.pk == request.user.pk
    manages = authority.manages_people and not own
    held = set(person.groups.values_list("pk", flat=True))
    led = set(person.led_teams.values_list("pk", flat=True))
    teams = list(person.teams.order_by("name"))
    context = {
        "person": person,
        "own": own,
        "manages": manages,
        "is_private": not (own or authority.manages_people),
        "roles": roles_of(person),
        "gives": [(role, ROLE_WORDS[role.name]) for role in roles_to_offer(authority) if role.pk not in held] if manages else [],
        "teams": [(team, team.pk in led) for team in teams],
        "other_teams": Team.objects.exclude(pk__in=[team.pk for team in teams]).order_by("name") if manages else [],
        "has": belongings_of(person, seen=authority.sees()),
        "must_have_factor": requires_second_factor(person),
        "may_reset": manages and authority.is_officer,
        "may_revoke": manages and authority.holds(Permission.REVOKE_TOKENS),
        "may_remove": manages and person.is_active and (not person.is_superuser or is_administrator(request.user)),
        "handing": open_change_of(person),
        "now": database_now(),
    }
    return render(request, "people/person.html", context)


@page
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """`give`, `take`: a role. `add`: to a team. `end-sessions`, `revoke`: the person's sessions, one token.

    `reset-factors`: the second factors of a person who lost them.
    """
    authority = authority_of(request)
    person = _person(request, pk)
    authority.check_manages_people()
    match verb:
        case "give":
            role = _role(request)
            give_role(person, role, authority=authority)
            said = f"{person} is {role.name} now."
        case "take":
            role = _role(request)
            take_role(person, role, authority=authority)
            said = f"{person} is {role.name} no more."
        case "add":
            team = Team.objects.filter(slug=request.POST.get("team", "")).first()
            if team is None:
                raise InputRefused("Choose a team.", field="team", next_step="Choose one of the list.")
            add_member(team, person, as_lead=request.POST.get("as_lead") == "yes", authority=authority)
            said = f"{person} is in team {team.name} now."
        case "end-sessions":
            end_sessions_of(person, authority=authority)
            said = f"Every session of {person} has ended."
        case "reset-factors":
            number = reset_second_factors(person, authority=authority)
            said = f"{so_many(number, 'second factor')} of {person} removed. The person signs in with the password next."
        case "revoke":
            token = _token(request, person)
            revoke_token(token, authority=authority)
            said = f"The token {token.name} has ended."
        case _:
            raise NotFound("There is no such action.")
    messages.success(request, said, extra_tags="good")
    return redirect("person", pk)


def _role(request: HttpRequest) -> Group:
    role = Group.objects.filter(name=request.POST.get("role", "")).first()
    if role is None:
        raise InputRefused("Choose a role.", field="role", next_step="Choose one of the list.")
    return role


def _token(request: HttpRequest, person: Any) -> ApiToken:
    number = request.POST.get("token", "")
    token = ApiToken.objects.filter(pk=int(number), user=person).first() if number.isdecimal() and len(number) < 19 else None
    if token is None:
        raise NotFound("There is no such token.")
    return token
