"""Certificates get another owner: a person of their team, or nobody in particular, which is the team."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

from celery import signature
from django.db import transaction
from kombu.exceptions import OperationalError

from audit.events import ActorKind, EventType
from audit.log import Actor, Event, record_many
from certs.access.permissions import members_among
from certs.errors import Conflict, InputRefused
from certs.inventory.states import states_of
from certs.models import Certificate, OwnerChange, Team
from certs.notifications.audience import Audience, people_of, to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import count_of
from certs.pipeline import queue_of
from db.clock import database_now
from db.sql import among

log = logging.getLogger(__name__)

TASK = "certs.tasks.hand_over_certificates"
BATCH = 1_000
AT_ONCE = 2_000  # more are handed over in the background: a second of the audit log's head at most
TURN = timedelta(seconds=20)  # of one run; then the worker handles other messages
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
    Effects: the rows, a `certificate:described` event each, and mails to both sides. Of more than
    AT_ONCE only the order is stored, and workers do the rest part by part: every event waits for the
    head of the audit log, and with 50,000 of them nothing else would be issued for ten seconds.
    Needs an open transaction. Raises Conflict where one of them has another owner by now.
    """
    ordered = sorted(ids)
    if len(ordered) > AT_ONCE:
        change = OwnerChange.objects.create(
            person=before,
            owner=owner,
            actor_kind=actor.kind,
            actor_name=actor.name,
            certificates=ordered,
            total=len(ordered),
            ordered_at=now,
        )
        transaction.on_commit(partial(_ask_worker, change.pk))
        return len(ordered)
    rows = _change(ordered, before, owner, actor, now)
    if len(rows) != len(ordered):
        raise Conflict("Some of these certificates have another owner by now. Nothing was changed.", next_step="Open the page again.")
    if rows:
        notify_of_ownership(rows[:_NAMED], len(rows), before=before, owner=owner, actor=actor, now=now)
    return len(rows)


def work_on(pk: int) -> int:
    """Hand over the parts of an order for some seconds, then ask for the next turn. Returns how many certificates got another owner.

    A part is one transaction with the place that it reaches, so a worker that is killed loses
    nothing and repeats nothing. Of two workers at once the second finds the order locked and ends.
    """
    until, done = database_now() + TURN, 0
    while database_now() < until:
        part = _next_part(pk)
        if part is None:
            return done
        done += part
    _ask_worker(pk)
    return done


@transaction.atomic
def _next_part(pk: int) -> int | None:
    """Hand over the next part. Returns how many; None where nothing is left, or another worker is at it."""
    order = OwnerChange.objects.select_for_update(of=("self",), skip_locked=True).filter(pk=pk, ended_at__isnull=True)
    change = order.select_related("person", "owner").first()
    if change is None:
        return None
    now, actor = database_now(), Actor(cast("ActorKind", change.actor_kind), change.actor_name)
    part = change.certificates[change.done : change.done + BATCH]
    # What has got another owner since the order stays with that one.
    mine = Certificate.objects.filter(among("pk", part), owner=change.person)
    if change.owner is not None:
        # A person who has left the team cannot own its certificates: they are left to the team.
        teams = set(mine.order_by().values_list("team_id", flat=True).distinct())
        present = {team for team, _ in members_among([(team, change.owner_id) for team in teams if change.owner_id])}
        left = list(mine.exclude(team_id__in=present).values_list("pk", flat=True))
        kept = list(mine.filter(team_id__in=present).values_list("pk", flat=True))
    else:
        left, kept = list(mine.values_list("pk", flat=True)), []
    rows = [
        *_change(kept, change.person, change.owner, actor, now),
        *_change(left, change.person, None, actor, now),
    ]
    change.done, change.changed = change.done + len(part), change.changed + len(rows)
    if change.done >= change.total:
        change.ended_at = now
    change.save(update_fields=["done", "changed", "ended_at"])
    if change.ended_at and rows:
        notify_of_ownership(rows[:_NAMED], change.changed, before=change.person, owner=change.owner, actor=actor, now=now)
    return len(rows)


def sweep_owner_changes() -> int:
    """Publish a task for each order that has not ended. Returns how many there were."""
    settled = database_now() - TURN  # a fresh one has its own message
    found = list(OwnerChange.objects.filter(ended_at__isnull=True, ordered_at__lt=settled).values_list("pk", flat=True)[:20])
    for pk in found:
        _ask_worker(pk)
    return len(found)


def open_change_of(person: Any) -> OwnerChange | None:
    """Return the order that hands over certificates of the person now, for pages."""
    return OwnerChange.objects.filter(person=person, ended_at__isnull=True).select_related("owner").defer("certificates").first()


def _ask_worker(pk: int) -> None:
    """Start the worker's task. Where the broker is away, the sweeper starts it."""
    try:
        signature(TASK, args=(pk,)).set(queue=queue_of(TASK, bulk=True)).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, a change of owners waits for the sweeper: %s", exc)


def _change(ids: Sequence[int], before: Any, owner: Any, actor: Actor, now: datetime) -> list[Certificate]:
    """Change the owner of those of the certificates that `before` owns. Returns them, with what events and mails need."""
    changed: list[Certificate] = []
    for start in range(0, len(ids), BATCH):
        # No row is loaded with its neighbours: 100,000 certificates are 100 small batches.
        mine = Certificate.objects.filter(among("pk", ids[start : start + BATCH]), owner=before)
        rows = list(mine.select_for_update(of=("self",)).order_by("pk").only("pk", "cert_id", "common_name", "team_id", "owner_id"))
        Certificate.objects.filter(among("pk", [row.pk for row in rows])).update(owner=owner)
        record_many(list(_events(rows, before, owner, actor, now)))
        changed += rows
    return changed


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
