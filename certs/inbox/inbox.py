"""What waits for one person, from every room, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from certs.access.permissions import Permission, holds
from certs.enums import RequestState as S
from certs.inbox.alerts import alerts_waiting
from certs.inbox.certificates import needing_a_person, without_owner
from certs.inbox.decisions import (
    domains_to_decide,
    orders_to_decide,
    people_to_take_in,
    questions_to_answer,
    requests_to_decide,
)
from certs.inbox.matters import Inbox
from certs.inbox.policies import drafts_for, policies_to_decide, waivers_for
from certs.inventory import open_alerts
from certs.models import Certificate, CertificateRequest, DomainRequest, Team
from certs.people.joining import waiting_for

MOST = 50  # rows of one kind on the page
COUNTED = 100  # a badge says 99+ beyond


def inbox_of(user: Any, *, teams: Sequence[Team], most: int, now: datetime) -> Inbox:
    """Return what the account can do something about now: at most so many rows of each kind.

    Members of teams get what concerns the certificates of their teams; each role gets its own.
    """
    officer = holds(user, Permission.ACT_FOR_EVERY_TEAM)
    parts = []
    if officer or holds(user, Permission.OPERATE):
        parts.append(alerts_waiting(most=most))
    if holds(user, Permission.DECIDE_REQUESTS):
        parts += [requests_to_decide(user, most=most), orders_to_decide(user, most=most)]
    if officer:
        parts += [domains_to_decide(user, most=most), without_owner()]
    if teams:
        parts.append(questions_to_answer(teams, most=most))
    if holds(user, Permission.PUBLISH_POLICIES):
        parts.append(policies_to_decide(user, most=most))
    if teams or officer:
        parts.append(people_to_take_in(user, most=most))
        rows = Certificate.objects.select_related("team", "request")
        mine = rows.filter(team__in=teams) if teams and not officer else rows.visible_to(user)
        parts.append(needing_a_person(mine, most=most, now=now))
    return Inbox.of(parts, now=now)


def count_waiting(user: Any) -> int:
    """Return how many decisions and alerts wait for the account, for the badge: cheap, and bounded by COUNTED.

    Certificates are left out: they are counted by a schedule, and their number is on the home page.
    """
    officer = holds(user, Permission.ACT_FOR_EVERY_TEAM)
    found = 0
    if officer or holds(user, Permission.OPERATE):
        found += open_alerts()[:COUNTED].count()
    if holds(user, Permission.DECIDE_REQUESTS):
        waiting = CertificateRequest.objects.filter(state=S.AWAITING_APPROVAL, bulk_item__isnull=True)
        found += waiting.exclude(requester=user)[:COUNTED].count()
    if officer:
        found += DomainRequest.objects.waiting().exclude(requester=user)[:COUNTED].count()
        found += drafts_for(user)[:COUNTED].count() + waivers_for(user)[:COUNTED].count()
    found += int(waiting_for(user)[:COUNTED].count())
    return min(found, COUNTED)
