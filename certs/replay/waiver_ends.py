"""Notices that a waiver ends: 14 days before, and when it has ended; to its teams and the security team."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from certs.models import OutgoingMail, Team, WaiverUse
from certs.notifications.audience import security_team, team_of
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import days_left
from db.clock import database_now
from policy.models import PolicyWaiver
from policy.texts.descriptions import label_of

BEFORE = timedelta(days=14)
AFTER = timedelta(days=7)  # an end that no run saw for so long is announced no more


def announce_ending_waivers() -> int:
    """Announce the ends of waivers, each once before and once after. Returns the number of mails."""
    now = database_now()
    rows = PolicyWaiver.objects.filter(approved_at__isnull=False, ended_at__isnull=True, ends__gt=now - AFTER, ends__lte=now + BEFORE)
    due = {f"waiver:{row.pk}:{'ended' if row.ends <= now else 'ends'}": row for row in rows.order_by("pk")}
    known = set(OutgoingMail.objects.filter(dedup_key__in=due).values_list("dedup_key", flat=True))
    return sum(_announce(key, row, now) for key, row in due.items() if key not in known)


@transaction.atomic
def _announce(key: str, row: PolicyWaiver, now: datetime) -> int:
    audience = security_team()
    for team in Team.objects.filter(slug__in=row.teams):
        audience |= team_of(team)
    ended = row.ends <= now
    used = WaiverUse.objects.filter(waiver=row).values("request").distinct().count()
    return notify(
        Topic.POLICY,
        key=key,
        audience=audience,
        subject=f"Waiver {row} {'has ended' if ended else f'ends {days_left(row.ends, now)}'}: {label_of(row.rule)}",
        template="waiver_ends",
        context={"waiver": row, "label": label_of(row.rule), "ended": ended, "used": used, "now": now},
        now=now,
    )
