"""Submit an act, pause it, go on, cancel the rest, try failed lines again."""

from __future__ import annotations

import hashlib
import json

from django.db import transaction

from audit.events import EventType
from audit.log import Value, record
from certs.access.permissions import Authority
from certs.acts.ending import notify_end, notify_owners
from certs.acts.options import are_complete
from certs.acts.progress import tally_of
from certs.acts.work import begin_on_commit
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.models import BulkAct, BulkActLine
from db.clock import database_now

State, Outcome = BulkAct.State, BulkActLine.Outcome
TYPED_ABOVE = 20  # lines; up to here one click is enough


def digest_of(act: BulkAct) -> str:
    """Return what a preview showed, in short: the options and the lines that they would do."""
    waiting = act.lines.filter(outcome=Outcome.WAITING).order_by("number")
    numbers = list(waiting.values_list("number", flat=True))
    text = json.dumps([act.kind, act.options, numbers], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@transaction.atomic
def submit_act(act: BulkAct, *, authority: Authority, shown: str, typed: str) -> BulkAct:
    """Draft -> running. Submitting again, as a double click does, returns the same act.

    `shown`: `digest_of` the preview that the person saw; `typed`: the number of lines, which has to
    be typed for more than TYPED_ABOVE. Effects: the state, `act:submitted`; the work starts at the
    commit.

    Raises NotFound for the act of another person, Conflict for a preview that has changed,
    InputRefused for a wrong number or nothing to do.
    """
    if authority.user is None or act.person_id != authority.user.pk:
        raise NotFound("There is no such act of yours.")
    row = BulkAct.objects.select_for_update().get(pk=act.pk)
    if row.state != State.DRAFT:
        return row
    if not are_complete(row) or shown != digest_of(row):
        raise Conflict(
            "The preview has changed since you saw it. Nothing was done.",
            next_step="Look at it again, and confirm it then.",
        )
    waiting = tally_of(row).waiting
    if not waiting:
        raise InputRefused(
            "Nothing of this can be done.",
            field="typed",
            next_step="Each line says why. Select other certificates.",
        )
    if waiting > TYPED_ABOVE and "".join(typed.split()).replace(",", "") != str(waiting):
        raise InputRefused(
            f"This is not the number of certificates: {waiting}.",
            field="typed",
            next_step=f"Type {waiting} to confirm that you mean all of them.",
        )
    now = database_now()
    row.state, row.submitted_at = State.RUNNING, now
    row.save(update_fields=["state", "submitted_at"])
    data: dict[str, Value] = {"kind": row.kind, "lines": waiting, "left_out": row.total - waiting}
    data |= {name: value for name, value in row.options.items() if name != "comment"}
    record(EventType.ACT_SUBMITTED, subject=row.subject, actor=authority.actor, at=now, data=data)
    begin_on_commit(row.pk)
    return row


def may_control(act: BulkAct, authority: Authority) -> bool:
    """Return whether the actor may pause and cancel it: the person who ordered it, officers, operators."""
    own = authority.user is not None and act.person_id == authority.user.pk
    return own or authority.operates_for_every_team


@transaction.atomic
def pause_act(act: BulkAct, *, authority: Authority) -> BulkAct:
    """Running -> paused. The line under way is finished first. Raises NotPermitted, Conflict."""
    row = _locked(act, authority, State.RUNNING, verb="paused")
    row.paused_by_security_team = row.person_id != getattr(authority.user, "pk", None)
    row.state = State.PAUSED
    return _set(row, EventType.ACT_PAUSED, authority)


@transaction.atomic
def resume_act(act: BulkAct, *, authority: Authority) -> BulkAct:
    """Paused -> running. Raises Conflict; NotPermitted where the security team paused it and the actor is not of it."""
    row = _locked(act, authority, State.PAUSED, verb="resumed")
    if row.paused_by_security_team and not authority.operates_for_every_team:
        raise NotPermitted(
            f"The security team paused {row.public_id}, so only the security team or an operator resumes it.",
            next_step="Ask the security team, and say why the act can go on.",
        )
    row.state, row.paused_by_security_team = State.RUNNING, False
    begin_on_commit(row.pk)
    return _set(row, EventType.ACT_RESUMED, authority)


@transaction.atomic
def cancel_act(act: BulkAct, *, authority: Authority) -> BulkAct:
    """Nothing new is begun any more; what is done stays done. Raises NotPermitted, Conflict.

    Effects: the state, `act:cancelled`; a mail to the person, where somebody else cancelled it.
    """
    row = _locked(act, authority, State.RUNNING, State.PAUSED, verb="cancelled")
    now = database_now()
    row.state, row.finished_at = State.CANCELLED, now
    row.lines.filter(outcome=Outcome.WAITING).update(outcome=Outcome.CANCELLED)
    _set(row, EventType.ACT_CANCELLED, authority)
    notify_owners(row, now=now)
    if authority.user is None or authority.user.pk != row.person_id:
        notify_end(row, tally_of(row), now=now)
    return row


@transaction.atomic
def retry_act(act: BulkAct, *, authority: Authority) -> int:
    """Let failed lines be tried again. Returns how many. Raises NotPermitted; Conflict where none failed."""
    row = _locked(act, authority, State.RUNNING, State.DONE, verb="tried again")
    count = row.lines.filter(outcome=Outcome.FAILED).update(outcome=Outcome.WAITING, tries=0, reason="", advice="", done_at=None)
    if not count:
        raise Conflict(f"No line of {row.public_id} failed.")
    row.state, row.finished_at = State.RUNNING, None
    begin_on_commit(row.pk)
    _set(row, EventType.ACT_RETRIED, authority)
    return count


def _locked(act: BulkAct, authority: Authority, *states: BulkAct.State, verb: str) -> BulkAct:
    row = BulkAct.objects.select_for_update().get(pk=act.pk)
    if not may_control(row, authority):
        raise NotPermitted(
            f"Only {act.person} and the security team may do this.",
            next_step="Ask the security team.",
        )
    if row.state not in states:
        raise Conflict(f"{row.public_id} is {row.get_state_display()} and cannot be {verb}.")
    return row


def _set(row: BulkAct, event: EventType, authority: Authority) -> BulkAct:
    row.save(update_fields=["state", "paused_by_security_team", "finished_at"])
    data: dict[str, Value] = {"state": row.state}
    record(event, subject=row.subject, actor=authority.actor, at=database_now(), data=data)
    return row
