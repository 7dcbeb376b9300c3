"""Publish a version and tell the teams that it touches: one mail each, with their numbers and a link."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from celery import signature
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from kombu.exceptions import OperationalError

from certs.inventory import states_of
from certs.inventory.states import CertificateState
from certs.models import Certificate, PolicyReplay, ReplayFinding, Team
from certs.notifications.audience import team_of
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.pipeline import queue_of
from certs.replay.verdicts import Outcome
from db.clock import database_now
from policy.errors import PolicyConflict
from policy.models import PolicyVersion
from policy.publishing import publish_as
from policy.texts.differences import Difference, differences

log = logging.getLogger(__name__)

JUDGE_TASK = "certs.tasks.judge_day"
NAMED = 10  # certificates in a mail
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


@dataclass(frozen=True, slots=True)
class Named:
    """A certificate whose renewal changes: what it means, and on which day it is due."""

    certificate: Certificate
    state: CertificateState
    words: str
    on: date


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


def first_changes(replay: PolicyReplay | None, team: Team, *, now: datetime) -> list[Named]:
    """Return the first NAMED certificates of the team for whose renewal the version changes something, the nearest first."""
    rows = ReplayFinding.objects.filter(replay=replay, team=team, outcome__in=list(WORDS), certificate__isnull=False)
    changed = list(rows.exclude(before=F("outcome")).order_by("on", "pk").values_list("certificate", "outcome", "on")[:NAMED])
    ids = [pk for pk, _, _ in changed]
    found, states = Certificate.objects.select_related("request").in_bulk(ids), states_of(ids, now)
    return [Named(found[pk], states[pk], WORDS[Outcome(outcome)], on) for pk, outcome, on in changed]


def publish_and_announce(
    draft: PolicyVersion, *, replay: PolicyReplay | None, before: PolicyVersion | None, user: Any, now: datetime
) -> tuple[PolicyVersion, int]:
    """Publish a draft as it was shown, as a second person, and write the mails in the same transaction.

    `replay`: the one that was shown, with the teams it touches; None writes no mail. `before`: the
    version with which the draft was compared. Returns the version and how many teams get a mail.
    Raises what `publish_as` raises, and PolicyConflict where the draft follows another version by now.
    """
    with transaction.atomic():
        version = publish_as(draft, user=user, now=now)
        _check_follows(version, before)
        changes = differences(before.ruleset if before else None, version.ruleset)
        touched = touched_teams(replay)
        for one in touched:
            notify(
                Topic.POLICY,
                key=f"policy:{version.version}:{version.digest[:12]}:{one.team.pk}",
                audience=team_of(one.team),
                subject=_subject(version, one, now),
                template="policy_changed",
                context=_context(version, one, changes, first_changes(replay, one.team, now=now), now),
                now=now,
            )
        transaction.on_commit(_judge_anew)
    return version, len(touched)


def _context(version: PolicyVersion, touched: Touched, changes: Sequence[Difference], named: list[Named], now: datetime) -> dict[str, Any]:
    return {
        "version": version,
        "touched": touched,
        "changes": changes,
        "named": named,
        "more": max(0, touched.changed - len(named)),
        "now": now,
    }


def _judge_anew() -> None:
    """Have the inventory judged by what counts now, so that pages need not wait for the hourly task."""
    try:
        signature(JUDGE_TASK).set(queue=queue_of(JUDGE_TASK, bulk=False)).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the schedule judges by the new policy: %s", exc)


def _check_follows(version: PolicyVersion, before: PolicyVersion | None) -> None:
    """Raise PolicyConflict unless the version takes the place of the one with which it was compared.

    Another officer may have published in the meantime: this version would undo that unseen, or never
    come into force because it begins earlier. Needs the lock of `publish_as`.
    """
    begins = max(version.effective_from or database_now(), database_now())
    found = PolicyVersion.objects.in_force(version.policy.name, begins).exclude(pk=version.pk).first()
    if (found and found.pk) != (before and before.pk):
        raise PolicyConflict(
            f"{found} was published since you saw this draft. Read again what {version.version} changes; nothing was published."
            if found
            else f"{before} does not count any more. Read again what {version.version} changes; nothing was published."
        )


def _subject(version: PolicyVersion, touched: Touched, now: datetime) -> str:
    start = version.effective_from or now
    when = f"from {start.day} {start:%b %Y}" if start > now else "now"
    number = f"{touched.changed} certificate{'' if touched.changed == 1 else 's'}"
    return f"Policy {version.version} changes {number} of {touched.team.name} {when}"
