"""The end of an act: recorded and mailed to the person once, when no line has anything left to do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Count

from audit.events import EventType
from audit.log import Actor, record
from certs.acts.progress import Tally, tally_of
from certs.models import BulkAct, BulkActLine, Certificate
from certs.notifications.audience import operators, to_user
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.owner_change import notify_of_ownership
from certs.requests.states import WORKER
from db.clock import database_now

Outcome, State = BulkActLine.Outcome, BulkAct.State
_NOT_DONE = (Outcome.REFUSED, Outcome.FAILED)
_NAMED = 10  # certificates in a mail about their owner
_SHOWN = 5  # reasons in a mail; the page of the act has all of them


@transaction.atomic
def finish(act_id: int) -> bool:
    """Running -> done, once no line waits. Effects: the state, `act:completed`, a mail."""
    act = BulkAct.objects.select_for_update().filter(pk=act_id, state=State.RUNNING).first()
    if act is None or act.lines.filter(outcome=Outcome.WAITING).exists():
        return False
    now, tally = database_now(), tally_of(act)
    act.state, act.finished_at = State.DONE, now
    act.save(update_fields=["state", "finished_at"])
    data = {name: getattr(tally, name) for name in ("done", "unchanged", "refused", "failed", "left_out")}
    record(EventType.ACT_COMPLETED, subject=act.subject, actor=WORKER, at=now, data=data)
    notify_owners(act, now=now)
    notify_end(act, tally, now=now)
    return True


def notify_owners(act: BulkAct, *, now: datetime) -> None:
    """Mail the new owner and each former one once about all certificates that changed hands. Needs the transaction of the end.

    A mail for each certificate would let one person send a colleague ten thousand.
    """
    if act.kind != BulkAct.Kind.OWNER:
        return
    owner = get_user_model().objects.filter(username=act.options["owner"]).first()
    lines = act.lines.filter(outcome=Outcome.DONE).order_by("number").select_related("certificate", "owner_before")
    by_owner: dict[Any, list[Certificate]] = {}
    for line in lines:
        by_owner.setdefault(line.owner_before, []).append(line.certificate)
    for before, rows in by_owner.items():
        actor = Actor("user", act.person.get_username())
        notify_of_ownership(rows[:_NAMED], len(rows), before=before, owner=owner, actor=actor, now=now)


def notify_end(act: BulkAct, tally: Tally, *, now: datetime) -> None:
    """Mail the numbers, and why lines were not done, to the person who ordered the act.

    The operators get the mail of a person who has left: lines that were refused because of that
    are otherwise seen by nobody. Needs the transaction of the end.
    """
    lines = act.lines.filter(outcome__in=_NOT_DONE).order_by()
    reasons = lines.values_list("reason").annotate(number=Count("pk")).order_by("-number", "reason")
    done = tally.done + tally.unchanged
    notify(
        Topic.ACT,
        # Failed lines that are tried again end once more.
        key=f"act:{act.public_id}:{now:%Y%m%d%H%M%S%f}",
        audience=to_user(act.person) or operators(),
        subject=f"{act.get_kind_display()}: {done} of {tally.tried} certificates done",
        template="act_done",
        context={"act": act, "tally": tally, "done": done, "reasons": list(reasons[:_SHOWN])},
        now=now,
    )
