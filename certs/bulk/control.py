"""Control a running order: pause it, continue it, cancel the rest, try the failed lines again."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.access.permissions import Authority, Permission
from certs.bulk.dispatch import dispatch_on_commit
from certs.enums import RequestState as S
from certs.errors import Conflict, NotPermitted
from certs.models import BulkChunk, BulkOrder, CertificateRequest
from db.clock import database_now

State = BulkOrder.State


@transaction.atomic
def pause(order: BulkOrder, *, authority: Authority) -> BulkOrder:
    """Pause a running order: what is under way goes on, nothing new is begun. Raises NotPermitted, Conflict.

    A pause by somebody who may operate for every team, or by the portal itself, is the security team's: see `go_on`. It
    replaces a pause by the order's own team.
    """
    authority.check_may_operate(order)
    row = _locked(order, State.RUNNING, State.PAUSED, verb="paused")
    # Again behind the lock, as below: a person who lost the right while this transaction waited changes nothing.
    authority.check_may_operate(row)
    theirs = authority.operates_for_every_team
    # A pause by the team does not replace one by the security team: the team could end its own.
    if row.state == State.PAUSED and (row.paused_by_security_team or not theirs):
        raise _conflict(row, verb="paused")
    _take_back(row, BulkChunk.State.WAITING)
    return _set(row, State.PAUSED, EventType.BULK_PAUSED, authority.actor, by_security_team=theirs)


@transaction.atomic
def go_on(order: BulkOrder, *, authority: Authority) -> BulkOrder:
    """Resume a paused order. Raises Conflict; NotPermitted, also where the security team paused the order and the actor is no member."""
    _check_may_go_on(order, authority)
    row = _locked(order, State.PAUSED, verb="resumed")
    authority.check_may_operate(row)
    if not authority.may_resume(row):
        raise NotPermitted(
            f"The security team paused {row.public_id}, so only the security team or an operator resumes it.",
            next_step="Ask the security team, and say why the order can go on.",
            permission=Permission.ACT_FOR_EVERY_TEAM,
        )
    dispatch_on_commit()
    return _set(row, State.RUNNING, EventType.BULK_RESUMED, authority.actor)


@transaction.atomic
def cancel_rest(order: BulkOrder, *, authority: Authority) -> BulkOrder:
    """Cancel the lines that are not begun; those under way are finished. A draft is discarded.

    Raises NotPermitted, Conflict.
    """
    authority.check_may_act(order)
    row = _locked(order, State.DRAFT, State.RUNNING, State.PAUSED, verb="cancelled")
    authority.check_may_act(row)
    row.chunks.filter(state=BulkChunk.State.WAITING).update(state=BulkChunk.State.CANCELLED, retry=False)
    _take_back(row, BulkChunk.State.CANCELLED)
    dispatch_on_commit()
    return _set(row, State.CANCELLED, EventType.BULK_CANCELLED, authority.actor)


@transaction.atomic
def retry_failed(order: BulkOrder, *, authority: Authority) -> int:
    """Let the failed requests continue where they stopped, with the keys and CSRs that they have. Returns how many.

    Their chunks wait like all others, and the requests stay `failed` until a chunk begins. A line that the policy refused is
    not tried again: it needs a change. Raises NotPermitted; Conflict when no line failed, or all failed ones wait already.
    """
    _check_may_go_on(order, authority)
    row = _locked(order, State.RUNNING, State.PAUSED, State.DONE, State.CANCELLED, verb="tried again")
    authority.check_may_operate(row)
    failed = CertificateRequest.objects.filter(bulk_item__order=row, state=S.FAILED).exclude(stopped_at="")
    if not failed.exists():
        raise Conflict(f"No line of {row.public_id} failed.", next_step="Lines that the policy refused need a new order.")
    # Only the chunks are marked. The requests stay failed until their chunk begins, so that the limits on what is in the
    # queue hold for them too, and a retry of ten thousand lines does not overtake other teams.
    within = Q(bulk_item__number__gte=OuterRef("first"), bulk_item__number__lte=OuterRef("last"))
    chunks = row.chunks.filter(Exists(failed.filter(within)), retry=False)
    numbers = list(chunks.select_for_update().order_by("pk").values_list("first", "last"))
    if not numbers:
        raise Conflict(f"The failed lines of {row.public_id} wait for their turn already.", next_step="Watch the order.")
    count = sum(failed.filter(bulk_item__number__gte=first, bulk_item__number__lte=last).count() for first, last in numbers)
    # One that is still in the queue with other lines is begun again when it is closed.
    chunks.exclude(state=BulkChunk.State.QUEUED).update(state=BulkChunk.State.WAITING, retry=True, done_at=None)
    chunks.update(retry=True)
    BulkOrder.objects.filter(pk=row.pk).update(finished_at=None, state=State.RUNNING if row.state == State.DONE else row.state)
    record(EventType.BULK_RETRIED, subject=row.subject, actor=authority.actor, at=database_now(), data={"lines": count})
    dispatch_on_commit()
    return count


def _check_may_go_on(order: BulkOrder, authority: Authority) -> None:
    """Raise NotPermitted unless the actor may operate the order and request the profiles of its lines."""
    authority.check_may_operate(order)
    if authority.profiles:
        lines = order.items.filter(spec__profile__isnull=False)
        authority.check_profiles(lines.order_by().values_list("spec__profile", flat=True).distinct())


def _take_back(row: BulkOrder, state: BulkChunk.State) -> None:
    """Take back chunks that are in the queue and not begun: their messages will find nothing to do."""
    # Locked, as `make_requests` locks them: a chunk has either begun, and goes on, or begins no more.
    queued = row.chunks.select_for_update().filter(state=BulkChunk.State.QUEUED).order_by("pk")
    begun = CertificateRequest.objects.filter(bulk_item__order=row)
    for chunk in queued:
        if chunk.retry or not begun.filter(bulk_item__number__gte=chunk.first, bulk_item__number__lte=chunk.last).exists():
            chunk.state, chunk.queued_at, chunk.retry = state, None, chunk.retry and state == BulkChunk.State.WAITING
            chunk.save(update_fields=["state", "queued_at", "retry"])


def _locked(order: BulkOrder, *states: State, verb: str) -> BulkOrder:
    row = BulkOrder.objects.select_for_update().get(pk=order.pk)
    if row.state not in states:
        raise _conflict(row, verb=verb)
    return row


def _conflict(row: BulkOrder, *, verb: str) -> Conflict:
    return Conflict(f"{row.public_id} is {row.get_state_display()} and cannot be {verb}.")


def _set(row: BulkOrder, state: State, event: EventType, actor: Actor, *, by_security_team: bool = False) -> BulkOrder:
    data: dict[str, Value] = {"from": row.state}
    if state == State.PAUSED:
        data["by_security_team"] = by_security_team
    record(event, subject=row.subject, actor=actor, at=database_now(), data=data)
    row.state, row.paused_by_security_team = state, by_security_team
    row.save(update_fields=["state", "paused_by_security_team"])
    return row
