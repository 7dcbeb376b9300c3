"""Who may do what, from facts of now: active account, membership of a team, named permission.

Every channel and every use case checks here. A rule about rights anywhere else is a fault.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet

from audit.log import Actor
from certs.errors import NotFound, NotPermitted
from certs.models import BulkOrder, Certificate, CertificateRequest, Team
from certs.models.certificate import CertificateQuerySet
from certs.models.people.permission import Permission, held_by, holders_of, holds, teams_seen_by
from db.reads import Read, read, rows_of
from db.sql import among_ids, fetch, id_list

__all__ = [
    "Authority",
    "Permission",
    "held_by",
    "holders_of",
    "holds",
    "is_lead",
    "is_member",
    "is_officer",
    "leads_of",
    "members",
    "members_among",
    "names_of_leads",
    "teams_of",
]

# A superuser counts as a member of every team, an inactive account of none.
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
    sql, names = _teams_sql()
    return [Team.from_db(DEFAULT_DB_ALIAS, names, row) for row in fetch(sql, [user.pk])]


_TEAMS = (
    "SELECT {columns} FROM certs_team t JOIN {users} u ON u.id = %s AND u.is_active "
    "WHERE u.is_superuser OR t.id IN (SELECT m.team_id FROM certs_team_members m WHERE m.user_id = u.id) ORDER BY t.name"
)


@cache
def _teams_sql() -> tuple[str, list[str]]:
    """Return the statement, which every page sends, and the fields of a team that it reads."""
    fields = Team._meta.concrete_fields
    columns = ", ".join(f't."{field.column}"' for field in fields)
    return _TEAMS.format(columns=columns, users=get_user_model()._meta.db_table), [field.attname for field in fields]


def is_officer(user: Any) -> bool:
    """Return whether the account may act on the certificates, requests and orders of every team."""
    return holds(user, Permission.ACT_FOR_EVERY_TEAM)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who acts. `user` is None only for the portal's own commands and schedules, which may do everything.

    `team` narrows a user to one team, as an API token does. No role of the user counts then. `profiles`: the profiles that
    a token may request; empty for all.
    """

    actor: Actor
    user: Any = None
    team: Team | None = None
    profiles: tuple[str, ...] = ()

    def check_profiles(self, profiles: Iterable[str]) -> None:
        """Raise NotPermitted for a profile that the actor's token may not request.

        Called with the profiles of the finished plan: what was sent can be empty and completed from the policy.
        """
        refused = sorted(set(profiles) - set(self.profiles)) if self.profiles else []
        if refused:
            raise NotPermitted(
                f"This token may not request the profile {refused[0]}.",
                field="profile",
                next_step=f"The token may use {', '.join(self.profiles)}.",
            )

    def holds(self, permission: Permission) -> bool:
        """Return whether the actor holds a permission that reaches beyond the actor's own teams."""
        if self.team is not None:
            return False
        return self.user is None or holds(self.user, permission)

    @property
    def is_officer(self) -> bool:
        """Return whether the actor may act for every team."""
        return self.holds(Permission.ACT_FOR_EVERY_TEAM)

    @property
    def operates_for_every_team(self) -> bool:
        """Return whether the actor may pause and resume for every team: officers and operators."""
        return self.is_officer or self.holds(Permission.OPERATE)

    @property
    def manages_people(self) -> bool:
        """Return whether the actor may manage every team, its domains, and people."""
        return self.holds(Permission.MANAGE_PEOPLE)

    def may_manage(self, team: Team) -> bool:
        """Return whether the actor may take people in and out of the team and give its names away: its leads, and officers."""
        if self.manages_people:
            return True
        return self.team is None and self.user is not None and is_lead(self.user, team)

    def check_may_manage(self, team: Team) -> None:
        """Raise NotFound for a team that the actor may not see, NotPermitted for one that the actor does not lead."""
        if self.may_manage(team):
            return
        if not self.may_see_team(team):
            raise NotFound("There is no such team.")
        raise NotPermitted(
            f"Only people who lead team {team.name} and security officers may do this.",
            permission=Permission.MANAGE_PEOPLE,
            givers=names_of_leads(team),
        )

    def check_manages_people(self) -> None:
        """Raise NotPermitted unless the actor manages people."""
        if not self.manages_people:
            raise NotPermitted("Only security officers and administrators may do this.", permission=Permission.MANAGE_PEOPLE)

    def may_change_account(self, person: Any) -> bool:
        """Return whether the actor may change the account: a superuser's, only if the actor is a superuser."""
        supers = get_user_model().objects.filter(is_superuser=True)
        if self.user is None or not supers.filter(pk=person.pk).exists():
            return True
        return bool(supers.filter(pk=self.user.pk, is_active=True).exists())

    def check_may_change_account(self, person: Any) -> None:
        """Raise NotPermitted for a superuser's account, unless the actor is a superuser."""
        if not self.may_change_account(person):
            raise NotPermitted(
                f"{person} is an administrator of the portal. Only another administrator may do this.",
                permission="auth.change_user",
            )

    def may_see_team(self, team: Team) -> bool:
        """Return whether the actor may see the team's pages: its members, and the roles that see every team."""
        seen = self.sees()
        return seen is None or team.pk in seen

    @property
    def may_decide_keys(self) -> bool:
        """Return whether the actor may block a public key permanently, and undo a block."""
        return self.holds(Permission.DECIDE_KEYS)

    def visible(self) -> CertificateQuerySet:
        """Return the certificates whose existence this actor may learn."""
        rows = Certificate.objects.select_related("team", "issuer", "request", "key", "revocation")
        if self.user is not None:
            rows = rows.visible_to(self.user)
        return rows if self.team is None else rows.filter(team=self.team)

    def sees(self) -> frozenset[int] | None:
        """Return ids of the teams whose requests, orders and certificates the actor may see; None for every team."""
        teams = None if self.user is None else teams_seen_by(self.user)
        if self.team is None:
            return teams
        return frozenset({self.team.pk} if teams is None or self.team.pk in teams else ())

    def acts_for(self) -> frozenset[int] | None:
        """Return ids of the teams on whose certificates the actor may act; None for every team."""
        if self.is_officer:
            return None
        own = {self.team.pk} if self.team is not None else {team.pk for team in teams_of(self.user)}
        return frozenset(team for team in own if self.belongs_to_every({team}))

    def belongs_to(self, team: Team) -> bool:
        """Return whether the actor is a member of the team now, or the portal itself."""
        return self.belongs_to_every({team.pk})

    def belongs_to_every(self, teams: AbstractSet[int]) -> bool:
        """Return the same for several teams, by id."""
        if self.team is not None and teams != {self.team.pk}:
            return False
        if self.user is None:
            return True
        return len(members_among([(team, self.user.pk) for team in teams])) == len(teams)

    def may_act_on(self, row: Certificate | CertificateRequest | BulkOrder) -> bool:
        """Return whether the actor may renew, revoke, submit or cancel it: members of its team, and officers.

        The lines of a bulk order can belong to several teams: then a member of all of them, and officers.
        """
        return self.belongs_to_every(_teams_of(row)) or self.is_officer

    def may_operate(self, row: CertificateRequest | BulkOrder) -> bool:
        """Return whether the actor may pause and resume it: those who may act on it, and operators."""
        return self.may_act_on(row) or self.holds(Permission.OPERATE)

    def may_resume(self, order: BulkOrder) -> bool:
        """Return whether the actor may resume a paused order: those who may operate it, unless the security team paused it."""
        return self.operates_for_every_team or (not order.paused_by_security_team and self.may_operate(order))

    def check_may_operate(self, row: CertificateRequest | BulkOrder) -> None:
        """Raise what `check_may_act` raises, unless the actor may operate."""
        if not self.holds(Permission.OPERATE):
            self.check_may_act(row)

    def check_may_act(self, row: Certificate | CertificateRequest | BulkOrder) -> None:
        """Raise NotFound for what the actor may not even see, NotPermitted for what the actor may only look at."""
        if self.may_act_on(row):
            return
        if not self.may_see(row):
            raise NotFound(f"There is no such {_KIND[type(row)]}.")
        if isinstance(row, BulkOrder) and self.belongs_to(row.team):
            raise NotPermitted(
                "This order has lines of teams to which you do not belong.",
                next_step="Ask a person who belongs to every team of its lines, or the security team.",
                permission=Permission.ACT_FOR_EVERY_TEAM,
            )
        raise NotPermitted(
            "Only members of its team and the security team may do this.",
            field="cert_id" if isinstance(row, Certificate) else "",
            next_step=f"Ask team {row.team.name}.",
            permission=Permission.ACT_FOR_EVERY_TEAM,
            givers=names_of_leads(row.team),
        )

    def may_see(self, row: Certificate | CertificateRequest | BulkOrder) -> bool:
        """Return whether the actor may learn of its existence."""
        teams = self.sees()
        return teams is None or row.team_id in teams


def _teams_of(row: Certificate | CertificateRequest | BulkOrder) -> set[int]:
    return {row.team_id, *row.teams_of_lines()} if isinstance(row, BulkOrder) else {row.team_id}


_KIND = {Certificate: "certificate", CertificateRequest: "request", BulkOrder: "bulk order"}
