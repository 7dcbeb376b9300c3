"""Publish a version and tell the teams that it touches: one mail each, with their numbers and a link."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.urls import reverse

from certs.models import PolicyReplay, Team
from certs.notifications.audience import team_of
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.replay.verdicts import Outcome
from policy.models import PolicyVersion
from policy.publishing import publish_as
from policy.texts.differences import differences

WORDS = {
    Outcome.SHORTENED: "shorter validity",
    Outcome.NEW_KEY: "a new key",
    Outcome.APPROVAL: "approval needed",
    Outcome.NEEDS_CSR: "new CSR needed from you",
    Outcome.REFUSED: "no longer renewed",
    Outcome.PASSES: "renewed again",
}


@dataclass(frozen=True, slots=True)
class Touched:
    """A team whose renewals change: how many in all, and with which outcome."""

    team: Team
    changed: int
    outcomes: list[tuple[str, int]]
    url: str = ""


def touched_teams(replay: PolicyReplay | None) -> list[Touched]:
    """Return the teams for whose certificates the replayed version changes something, the most first."""
    rows = replay.summary.get("certificates", {}).get("teams", []) if replay else []
    teams = Team.objects.in_bulk([int(one["key"]) for one in rows])
    return [
        Touched(
            teams[int(one["key"])],
            one["changed"],
            [(WORDS[outcome], one["outcomes"][outcome]) for outcome in WORDS if one["outcomes"].get(outcome)],
            f"{reverse('certificates')}?team={teams[int(one['key'])].slug}",
        )
        for one in rows
        if int(one["key"]) in teams
    ]


def publish_and_announce(
    draft: PolicyVersion, *, replay: PolicyReplay | None, before: PolicyVersion | None, user: Any, now: datetime
) -> tuple[PolicyVersion, int]:
    """Publish a draft as it was shown, as a second person, and write the mails in the same transaction.

    `replay`: the one that was shown, with the teams it touches; None writes no mail. Returns the
    version and how many teams get a mail. Raises what `publish_as` raises.
    """
    with transaction.atomic():
        version = publish_as(draft, user=user, now=now)
        changes = differences(before.ruleset if before else None, version.ruleset)
        touched = touched_teams(replay)
        for one in touched:
            notify(
                Topic.POLICY,
                key=f"policy:{version.version}:{version.digest[:12]}:{one.team.pk}",
                audience=team_of(one.team),
                subject=_subject(version, one, now),
                template="policy_changed",
                context={"version": version, "touched": one, "changes": changes, "now": now},
                now=now,
            )
    return version, len(touched)


def _subject(version: PolicyVersion, touched: Touched, now: datetime) -> str:
    start = version.effective_from or now
    when = f"from {start.day} {start:%b %Y}" if start > now else "now"
    number = f"{touched.changed} certificate{'' if touched.changed == 1 else 's'}"
    return f"Policy {version.version} changes {number} of {touched.team.name} {when}"
