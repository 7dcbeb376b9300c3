"""Certificates get another owner: a person of their team, or nobody in particular, which is the team."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from audit.events import EventType
from audit.log import Actor, Event, record_many
from certs.access.membership import members_among
from certs.errors import Conflict, InputRefused
from certs.inventory.states import states_of
from certs.models import Certificate, Team
from certs.notifications.audience import Audience, people_of, to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of

BATCH = 1_000
_NAMED = 10


def check_may_own(person: Any, teams: Collection[Team]) -> None:
    """Raise InputRefused unless the person is an active member of each of these teams."""
    members = members_among([(team.pk, person.pk) for team in teams])
    outside = sorted(team.name for team in teams if (team.pk, person.pk) not in members)
    if outside:
        raise InputRefused(
            f"{person} is no active member of team {outside[0]}, so cannot own its certificates.",
            field="owner",
            next_step=f"Name a member of {outside[0]}, or have the person added to the team first.",
        )


def hand_over(ids: Sequence[int], *, before: Any, owner: Any, actor: Actor, now: datetime) -> int:
    """Give certificates of `before` to another owner; None leaves them to their teams. Returns how many.

    The caller has checked the rights and that `owner` is a member of their teams.
    Effects: the rows, a `certificate:described` event each, and mails to both sides. Needs an open
    transaction. Raises Conflict where one of them has another owner by now.
    """
    first: list[Certificate] = []
    ordered = sorted(ids)
    for start in range(0, len(ordered), BATCH):
        part = ordered[start : start + BATCH]
        # No row is loaded with its neighbours: 100,000 certificates are 100 small batches.
        locked = Certificate.objects.select_for_update(of=("self",)).filter(pk__in=part, owner=before).order_by("pk")
        rows = list(locked.only("pk", "cert_id", "common_name", "team_id", "owner_id"))
        if len(rows) != len(part):
            raise Conflict("Some of these certificates have another owner by now. Nothing was changed.", next_step="Open the page again.")
        Certificate.objects.filter(pk__in=part).update(owner=owner)
        record_many(list(_events(rows, before, owner, actor, now)))
        first += rows[: max(0, _NAMED - len(first))]
    if ids:
        notify_of_ownership(first, len(ids), before=before, owner=owner, actor=actor, now=now)
    return len(ids)


def _events(rows: Sequence[Certificate], before: Any, owner: Any, actor: Actor, now: datetime) -> Iterator[Event]:
    data = {"owner": None if owner is None else str(owner), "owner_before": None if before is None else str(before)}
    for row in rows:
        yield Event(EventType.CERTIFICATE_DESCRIBED, f"certificate:{row.cert_id}", actor, now, data)


def notify_of_ownership(
    first: Sequence[Certificate],
    count: int,
    *,
    before: Any,
    owner: Any,
    actor: Actor,
    now: datetime,
) -> None:
    """Mail the owner before and the owner after; for nobody, the team. `first`: some of the certificates, for their names."""
    rows = list(Certificate.objects.filter(pk__in=[row.pk for row in first]).select_related("team", "request").order_by("pk"))
    names = [row.first_name for row in rows]
    states = states_of([row.pk for row in rows], now)
    audience = to_user(before) | _side(owner, rows)
    notify(
        Topic.OWNERSHIP,
        key=f"owner:{rows[0].pk}:{count}:{now.isoformat()}",
        audience=audience,
        subject=f"{owner or 'The team'} answers for {count_of(names, count)} now",
        template="ownership",
        context={
            "before": before,
            "owner": owner,
            "count": count,
            "certificates": [(row, states[row.pk]) for row in rows],
            "more": count - len(rows),
            "path": f"/certificates/?owner={owner.get_username() if owner else 'none'}",
            "by": actor.name,
            "at": now,
        },
        now=now,
    )


def _side(owner: Any, rows: Sequence[Certificate]) -> Audience:
    if owner is not None:
        return to_user(owner)
    audience = Audience()
    for team in {row.team for row in rows}:
        audience |= people_of(team)
    return audience
