"""Who belongs to which team now. A superuser counts as a member of every team, an inactive account of none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, Q, QuerySet

from certs.models import Team
from db.reads import Read, read, rows_of
from db.sql import among_ids, id_list

_MEMBERS = (
    "SELECT t.id, u.id FROM certs_team t CROSS JOIN {users} u WHERE {teams} AND {accounts} AND u.is_active "
    "AND (u.is_superuser OR EXISTS (SELECT 1 FROM certs_team_members m WHERE m.team_id = t.id AND m.user_id = u.id))"
)


def members_among(pairs: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return those of the (team id, user id) pairs whose user belongs to the team."""
    return read(members(pairs)) if pairs else set()


def members(pairs: Collection[tuple[int, int]]) -> Read[set[tuple[int, int]]]:
    """The same, to be sent with other reads."""
    sql = _MEMBERS.format(users=get_user_model()._meta.db_table, teams=among_ids("t.id"), accounts=among_ids("u.id"))
    teams, users = {team for team, _ in pairs}, {user for _, user in pairs}
    return rows_of(
        (sql, [id_list(sorted(teams)), id_list(sorted(users))]),
        lambda rows: {(team, user) for team, user in rows} & set(pairs),
    )


def is_member(user: Any, team: Team) -> bool:
    """Return whether the account is active and belongs to the team."""
    return user.pk is not None and bool(members_among([(team.pk, user.pk)]))


def is_lead(user: Any, team: Team) -> bool:
    """Return whether the account is active, and a member and a lead of the team."""
    return user.pk is not None and Team.objects.filter(pk=team.pk, leads=user.pk, members=user.pk, leads__is_active=True).exists()


def leads_of(team: Team) -> QuerySet[Any]:
    """Return the people who lead the team now, by name."""
    return get_user_model().objects.filter(is_active=True, led_teams=team, teams=team).order_by("username")


def names_of_leads(team: Team) -> list[str]:
    """Return the names of the people who lead the team now, as pages write them."""
    return [str(lead.get_full_name() or lead.get_username()) for lead in leads_of(team)]


def teams_of(user: Any) -> list[Team]:
    """Return the teams for which the user may request certificates, by name."""
    if user.pk is None:
        return []
    active = get_user_model().objects.filter(pk=user.pk, is_active=True)
    theirs = Team.members.through.objects.filter(user__in=active).values("team")
    return list(Team.objects.filter(Exists(active.filter(is_superuser=True)) | Q(pk__in=theirs)).order_by("name"))
