"""What waits for one person, from every room, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from certs.access.permissions import Permission, held_by
from certs.inbox.alerts import alerts_waiting, expired_alerts, expired_of
from certs.inbox.cas import cas_to_decide, cas_to_take_live
from certs.inbox.certificates import needing_a_person, on_blocked_keys, without_owner
from certs.inbox.decisions import (
    domains_to_decide,
    open_orders,
    open_questions,
    open_requests,
    orders_to_decide,
    people_to_take_in,
    questions_to_answer,
    requests_to_decide,
)
from certs.inbox.matters import Inbox
from certs.inbox.policies import drafts_for, policies_to_decide, waivers_for
from certs.inbox.present import Present, present
from certs.inventory import open_alerts
from certs.models import Certificate, DomainRequest, Team
from certs.models.people.permission import team_seen_by
from certs.people.joining import waiting_for
from db.clock import database_now
from db.counting import count_together

MOST = 50  # rows of one kind on the page
COUNTED = 100  # a badge says 99+ beyond


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose inbox it is: the account, what it holds, and which lists hold anything; each read once for a page."""

    user: Any
    held: AbstractSet[Permission]
    present: AbstractSet[Present]

    @classmethod
    def of(cls, user: Any) -> Reader:
        """Read both now."""
        return cls(user, held_by(user), present())

    @property
    def is_officer(self) -> bool:
        """Return whether the account acts for every team."""
        return Permission.ACT_FOR_EVERY_TEAM in self.held

    @property
    def seen(self) -> Q:
        """Return the condition on rows with a `team` that the account may see it.

        A group that an installation composed may decide without seeing every team: it finds what it can open.
        """
        return Q() if Permission.SEE_EVERY_TEAM in self.held else team_seen_by(self.user)

    def may_find(self, one: Present) -> bool:
        """Return whether a list holds something, and is one of this account's roles."""
        return one in self.present and (one not in _FOR or any(permission in self.held for permission in _FOR[one]))


_FOR = {
    Present.ALERTS: (Permission.ACT_FOR_EVERY_TEAM, Permission.OPERATE),
    Present.REQUESTS: (Permission.DECIDE_REQUESTS,),
    Present.ORDERS: (Permission.DECIDE_REQUESTS,),
    Present.DOMAINS: (Permission.ACT_FOR_EVERY_TEAM,),
    Present.CAS: (Permission.MANAGE_CAS,),
}


def inbox_of(reader: Reader, *, teams: Sequence[Team], most: int, now: datetime) -> Inbox:
    """Return what the account can do something about now: at most so many rows of each kind.

    Members of teams get what concerns the certificates of their teams; each role gets its own.
    """
    user, may_find = reader.user, reader.may_find
    parts = _of_roles(reader, most=most, now=now)
    if teams and may_find(Present.QUESTIONS):
        parts.append(questions_to_answer(teams, most=most))
    if teams and may_find(Present.EXPIRED) and not may_find(Present.ALERTS):
        parts.append(expired_of(teams, most=most))
    if teams and may_find(Present.BLOCKED_KEYS) and not may_find(Present.ALERTS):
        parts.append(on_blocked_keys(teams, most=most, now=now))
    if not teams and not reader.is_officer:
        return Inbox.of(parts, now=now)
    if may_find(Present.PEOPLE):
        parts.append(people_to_take_in(user, reader.held, most=most))
    rows = Certificate.objects.all()
    if not reader.is_officer:
        rows = rows.filter(team__in=teams)
    elif Permission.SEE_EVERY_TEAM not in reader.held:
        rows = rows.visible_to(user)
    parts.append(needing_a_person(rows, most=most, now=now))
    return Inbox.of(parts, now=now)


def _of_roles(reader: Reader, *, most: int, now: datetime) -> list[Inbox]:
    """Return what waits for the roles of the account, whatever its teams."""
    user, may_find = reader.user, reader.may_find
    parts = []
    if may_find(Present.ALERTS):
        parts.append(alerts_waiting(most=most))
    if may_find(Present.REQUESTS):
        parts.append(requests_to_decide(user, reader.seen, most=most))
    if may_find(Present.ORDERS):
        parts.append(orders_to_decide(user, reader.seen, most=most))
    if may_find(Present.DOMAINS):
        parts.append(domains_to_decide(user, reader.seen, most=most))
    if reader.is_officer:
        parts.append(without_owner())
    if Permission.PUBLISH_POLICIES in reader.held and (may_find(Present.DRAFTS) or may_find(Present.WAIVERS)):
        parts.append(policies_to_decide(user, most=most, now=now))
    if may_find(Present.CAS):
        parts.append(cas_to_decide(user, most=most))
    return parts


def count_waiting(reader: Reader) -> int:
    """Return how many decisions and alerts wait for the account, for the badge: one statement, bounded by COUNTED.

    No statement where all lists are empty. Certificates are left out: an officer's are those of every
    team, and would make the badge 99+ for good. The page of the inbox says so, with both numbers.
    """
    user, may_find = reader.user, reader.may_find
    lists: list[QuerySet[Any]] = []
    if may_find(Present.PEOPLE):
        lists.append(waiting_for(user, reader.held))
    if may_find(Present.ALERTS):
        lists.append(open_alerts())
    if may_find(Present.REQUESTS):
        lists.append(open_requests(user).filter(reader.seen))
    if may_find(Present.ORDERS):
        lists.append(open_orders(user).filter(reader.seen))
    if may_find(Present.DOMAINS):
        lists.append(DomainRequest.objects.waiting().filter(reader.seen).exclude(requester=user))
    if reader.is_officer and may_find(Present.DRAFTS):
        lists.append(drafts_for(user))
    if reader.is_officer and may_find(Present.WAIVERS):
        lists.append(waivers_for(user, now=database_now()))
    if may_find(Present.CAS):
        lists.append(cas_to_take_live(user))
    return min(count_together([*lists, *_lists_of_teams(reader)], most=COUNTED), COUNTED)


def _lists_of_teams(reader: Reader) -> list[QuerySet[Any]]:
    """Return what is counted for the members of teams; the teams are those of `teams_of`."""
    user, may_find = reader.user, reader.may_find
    teams = Team.objects.all() if user.is_superuser else Team.objects.filter(members=user)
    lists: list[QuerySet[Any]] = []
    if may_find(Present.QUESTIONS):
        lists.append(open_questions(teams))
    if may_find(Present.EXPIRED) and not may_find(Present.ALERTS):
        lists.append(expired_alerts(teams))
    return lists
