"""Groups of the identity provider as teams and roles: what it gives is given, what it takes is taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction

from audit.changes import attribute
from audit.log import Actor
from certs.access.sessions import end_sessions
from certs.models import GroupMapping, Team

PROVIDER = Actor("system", "identity provider")
MOST_GROUPS = 5000


class GroupsUnreadable(Exception):
    """The provider did not say which groups the person is in."""


def groups_in(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the groups that the claims name; none where the claim is absent.

    Raises GroupsUnreadable where the provider left them out because they are too many (Microsoft
    Entra does so above 200), and for a claim that is no list of texts: taking everything from the
    person would be wrong then, and so would be leaving everything.
    """
    name = settings.PKI_OIDC_GROUPS_CLAIM
    elsewhere = claims.get("_claim_names")
    found = claims.get(name, [])
    if isinstance(found, str):
        found = [found]
    readable = isinstance(found, list) and len(found) <= MOST_GROUPS and all(isinstance(one, str) for one in found)
    if not readable or (isinstance(elsewhere, dict) and name in elsewhere):
        raise GroupsUnreadable
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Given:
    """Teams and roles that an account should have, of those that the mapping speaks of."""

    teams: frozenset[int]
    roles: frozenset[int]
    all_teams: frozenset[int]
    all_roles: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.teams or self.roles)


def given_by(groups: Collection[str]) -> Given:
    """Return what the groups give by the mapping as it is now."""
    rows = list(GroupMapping.objects.values_list("group", "team", "role"))
    return Given(
        teams=frozenset(team for group, team, _ in rows if team and group in groups),
        roles=frozenset(role for group, _, role in rows if role and group in groups),
        all_teams=frozenset(team for _, team, _ in rows if team),
        all_roles=frozenset(role for _, _, role in rows if role),
    )


@transaction.atomic
def apply_groups(user: Any, groups: Collection[str]) -> bool:
    """Give the account the teams and roles of its groups, and take those that they do not give.

    Teams and roles of which no mapping speaks stay as they are. Effects: memberships and roles, each
    with its audit event; tokens of lost teams end; an account that is left with nothing loses its
    sessions. Returns False for such an account, which must not be signed in.
    """
    # Two sign-ins of one person apply their groups one after the other.
    account = get_user_model().objects.select_for_update().get(pk=user.pk)
    attribute(account, PROVIDER)
    given = given_by(groups)
    teams = set(Team.objects.filter(members=account).values_list("pk", flat=True))
    roles = set(account.groups.values_list("pk", flat=True))
    account.teams.add(*(given.teams - teams))
    account.teams.remove(*((teams & given.all_teams) - given.teams))
    account.groups.add(*(given.roles - roles))
    account.groups.remove(*((roles & given.all_roles) - given.roles))
    # Without any mapping the provider only says who somebody is, and decides about no rights.
    is_left = not (given.all_teams or given.all_roles) or account.is_superuser or account.is_staff
    is_left = is_left or account.teams.exists() or account.groups.exists()
    if not is_left:
        end_sessions(account)
    return is_left
