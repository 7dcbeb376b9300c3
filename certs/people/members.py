"""Members and leads of a team, and the roles of a person: given and taken, at once and on record."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as DjangoPermission
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q

from audit.changes import attribute
from audit.events import EventType
from audit.log import record
from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Authority, Permission, holders_of, is_member
from certs.access.roles import OF_EARLIER_RELEASES, ROLES
from certs.access.sessions import end_sessions
from certs.errors import Conflict, NotFound, NotPermitted
from certs.models import SignedInSession, Team
from db.clock import database_now
from policy.persons import one_person_is_enough


@transaction.atomic
def add_member(team: Team, person: Any, *, as_lead: bool, authority: Authority) -> None:
    """Take a person into a team, as a lead where that is said.

    Effects: membership, its events and mails, in one transaction. Nothing for what is so already.
    Raises NotFound, NotPermitted, Conflict for an account that is not active.
    """
    one_change_at_a_time()
    authority.check_may_manage(team)
    own = authority.user is not None and authority.user.pk == person.pk
    if own and not one_person_is_enough() and not is_member(person, team):
        raise NotPermitted("Nobody takes in the own person.", next_step="Ask the team; another lead or officer answers.")
    if not get_user_model().objects.filter(pk=person.pk, is_active=True).exists():
        raise Conflict(f"The account {person} is not active.", next_step="An administrator can switch it on again.")
    attribute(team, authority.actor)
    team.members.add(person)
    if as_lead:
        team.leads.add(person)


@transaction.atomic
def set_lead(team: Team, person: Any, *, leads: bool, authority: Authority) -> None:
    """Let a member lead the team, or not any more. Raises as `add_member`; Conflict for a person who is no member."""
    one_change_at_a_time()
    authority.check_may_manage(team)
    if not team.members.filter(pk=person.pk, is_active=True).exists():
        raise Conflict(f"{person} is not a member of team {team.name} any more.", next_step="Open the page again.")
    attribute(team, authority.actor)
    if leads:
        team.leads.add(person)
    else:
        team.leads.remove(person)


def roles_to_give(authority: Authority) -> list[Group]:
    """Return the roles of the portal that the actor may give to others, by name.

    Administrators may give every role, as in the admin. Others who manage people give what they
    hold themselves and nothing more, so nobody makes an approver who is none.
    """
    if authority.team is not None:
        return []
    roles = list(Group.objects.filter(name__in=ROLES).order_by("name"))
    if authority.user is None or is_administrator(authority.user):
        return roles
    if not authority.manages_people:
        return []
    user = authority.user
    # A role's rights stay in the database: there are hundreds, and refusal pages ask for several people.
    held = DjangoPermission.objects.filter(Q(group__user=user) | Q(user=user))
    beyond = Group.permissions.through.objects.filter(group__in=roles).exclude(permission__in=held)
    too_much = set(beyond.values_list("group_id", flat=True))
    return [role for role in roles if role.pk not in too_much]


def roles_to_offer(authority: Authority) -> list[Group]:
    """Return the roles of `roles_to_give` that forms offer: those of earlier releases say the same in other names."""
    return [role for role in roles_to_give(authority) if role.name not in OF_EARLIER_RELEASES]


def may_give(role: Group, authority: Authority) -> bool:
    """Return whether the actor may give the role to others."""
    return any(one.pk == role.pk for one in roles_to_give(authority))


def is_administrator(user: Any) -> bool:
    """Return whether the account may change every account: a superuser, or staff with that right."""
    rows = get_user_model().objects.with_perm("auth.change_user", backend="django.contrib.auth.backends.ModelBackend")
    return bool(rows.filter(pk=user.pk, is_staff=True).exists())


@transaction.atomic
def give_role(person: Any, role: Group, *, authority: Authority) -> None:
    """Give a person a role.

    Effects: the group's link, its event and a mail to the person, in one transaction.
    Raises NotPermitted for a role that the actor may not give and for the actor's own account.
    """
    one_change_at_a_time()
    _check_not_own(person, authority)
    if not may_give(role, authority):
        raise NotPermitted(
            f"You may not give the role {role.name}: it may do more than your own roles.",
            field="role",
            permission="auth.change_user",
        )
    fresh = get_user_model().objects.select_for_update().filter(pk=person.pk, is_active=True).first()
    if fresh is None:
        raise Conflict(f"The account {person} is not active.", next_step="An administrator can switch it on again.")
    attribute(fresh, authority.actor)
    fresh.groups.add(role)


@transaction.atomic
def take_role(person: Any, role: Group, *, authority: Authority) -> None:
    """Take a role from a person. It has no effect any more from the commit on.

    Raises NotPermitted unless the actor manages people, for the actor's own account and for an
    administrator's unless the actor is one; Conflict where nobody would be left who may manage people.
    """
    one_change_at_a_time()
    authority.check_manages_people()
    _check_not_own(person, authority)
    authority.check_may_change_account(person)
    fresh = get_user_model().objects.select_for_update().get(pk=person.pk)
    before = rights_held()
    attribute(fresh, authority.actor)
    fresh.groups.remove(role)
    check_none_died_out(before, person)


def rights_held() -> frozenset[str]:
    """Return which of the rights that must not die out somebody holds now, in words."""
    users = get_user_model().objects.filter(is_active=True, is_superuser=True)
    held = {"the last administrator": users, "the last person who may manage people": holders_of(Permission.MANAGE_PEOPLE)}
    return frozenset(words for words, rows in held.items() if rows.exists())


def check_none_died_out(before: frozenset[str], person: Any) -> None:
    """Raise Conflict where a change, written in this transaction already, took a right from the last who held it."""
    lost = sorted(before - rights_held())
    if lost:
        raise Conflict(
            f"{person} is {' and '.join(lost)}. Nothing was changed.",
            next_step="Give somebody else the same rights first. The first administrator is made with manage.py createsuperuser.",
        )


def _check_not_own(person: Any, authority: Authority) -> None:
    if authority.user is not None and authority.user.pk == person.pk:
        raise NotPermitted("Nobody changes roles of their own.", next_step="Ask another officer or administrator.")


def find_member(team: Team, pk: int) -> Any:
    """Return a member of the team, active or not. Raises NotFound."""
    person = team.members.filter(pk=pk).first()
    if person is None:
        raise NotFound("There is no such member.")
    return person


def end_sessions_of(person: Any, *, authority: Authority) -> None:
    """End every session of a person, who signs in anew.

    Effects, in one transaction: the sessions and `user:sessions_ended`. Raises NotPermitted.
    """
    with transaction.atomic():
        authority.check_manages_people()
        authority.check_may_change_account(person)
        keys = list(SignedInSession.objects.filter(user=person).values_list("key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        SignedInSession.objects.filter(user=person).delete()
        end_sessions(person)
        data = {"user": person.get_username(), "listed": len(keys)}
        event = EventType.USER_SESSIONS_ENDED
        record(event, subject=f"auth.user:{person.pk}", actor=authority.actor, at=database_now(), data=data)
