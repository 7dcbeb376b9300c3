"""Submit a draft, once: cut its lines into chunks, which the dispatcher publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.access.permissions import Authority
from certs.bulk.dispatch import dispatch_on_commit
from certs.bulk.lines import chosen_outcomes
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import BulkChunk, BulkOrder, Team
from certs.requests.submit import Requester, active_issuer
from db.clock import database_now
from db.rows import insert

State = BulkOrder.State


@transaction.atomic
def submit_order(order: BulkOrder, *, authority: Authority, with_refused: bool = False) -> BulkOrder:
    """Draft -> running. Submitting again, as a double click does, returns the same order and starts nothing twice.

    `with_refused`: lines that the policy refused are submitted too and end as rejected requests, so that they are on
    record. A draft may be old: its CA must still issue (or another have taken over), and the person who drafted it must still
    belong to the teams of its lines. Raises InputRefused, also when no line can be issued; NotPermitted; Conflict for an order that was
    cancelled as a draft.
    """
    authority.check_may_act(order)
    # 1. Lock the order: of two clicks the second finds it submitted.
    row = BulkOrder.objects.select_for_update().get(pk=order.pk)
    authority.check_may_act(row)
    if row.state == State.CANCELLED and row.submitted_at is None:
        raise Conflict(f"{row.public_id} was thrown away before it was submitted.", next_step="Make a new order.")
    if row.state == State.JUDGING:
        raise Conflict(f"{row.public_id} is still being judged.", next_step="Wait until it is a draft.")
    if row.state != State.DRAFT:
        return row
    # 2. What must hold now, not when it was drafted: a line to issue, a CA that issues, a requester who is still there.
    #    The policy is not asked: each request is evaluated when its chunk begins, by the version in force then.
    now, actor = database_now(), authority.actor
    row.with_refused = with_refused
    costs = list(row.items.filter(outcome__in=chosen_outcomes(row)).order_by("number").values_list("number", "spec__key", "spki_der"))
    if not costs:
        raise InputRefused("No line of this order can be issued.", field="items", next_step="Take the suggestions, or mend the lines.")
    row.issuer = active_issuer(row.issuer.name)
    _check_requester(row)
    # 3. The chunks, and the order with its event. Requests of the lines are made when their chunk begins, so that lines
    #    that never begin need no cancelling.
    drafted_by, row.actor_kind, row.actor_name = row.actor_name, actor.kind, actor.name
    row.submitter = authority.user
    chunks = list(_chunks(row, costs))
    insert(chunks)
    row.total = row.items.count()
    row.state, row.not_submitted, row.submitted_at = State.RUNNING, row.total - len(costs), now
    changed = ["state", "total", "not_submitted", "submitted_at", "with_refused", "issuer"]
    row.save(update_fields=[*changed, "actor_kind", "actor_name", "submitter"])
    data: dict[str, Value] = {"lines": len(costs), "chunks": len(chunks), "issuer": row.issuer.name, "content_sha256": row.content_sha256}
    data["drafted_by"] = drafted_by
    record(EventType.BULK_SUBMITTED, subject=row.subject, actor=actor, at=now, data=data)
    # 4. The dispatcher publishes the first chunks after the commit.
    dispatch_on_commit()
    return row


def _check_requester(row: BulkOrder) -> None:
    """Raise NotPermitted where the person who drafted the order has left: the requests are made in that name."""
    user = row.requester
    if user is not None and not user.is_active:
        raise NotPermitted(f"{user}, who drafted this order, has left.", field="requester", next_step="Make the order anew.")
    asked_for = row.items.filter(outcome__in=chosen_outcomes(row)).values("team")
    for team in Team.objects.filter(pk__in=asked_for).order_by("slug"):
        Requester(actor=Actor(row.actor_kind, row.actor_name), team=team, channel=row.door, user=user).check()  # type: ignore[arg-type]


def _chunks(order: BulkOrder, costs: Iterable[tuple[int, str, Any]]) -> Iterator[BulkChunk]:
    """Yield chunks of lines that cost no more than one may, so that each is done within a second or two.

    A chunk has either lines with external CSRs or lines whose keys are made here: the first task of
    its chain runs where the CA is, or where the keys are made.
    """
    # The cost of a line is that of its key: an RSA-4096 key is made in the time of 500 P-256 keys.
    numbers: list[int] = []
    spent, keys_here = 0, False
    for number, key, spki in costs:
        external = bool(bytes(spki))
        cost = settings.PKI_BULK_COSTS.get("brought" if external else key, 1)
        if numbers and (spent + cost > settings.PKI_BULK_CHUNK or external == keys_here):
            yield _chunk(order, numbers, keys_here=keys_here)
            numbers, spent = [], 0
        numbers.append(number)
        spent, keys_here = spent + cost, not external
    if numbers:
        yield _chunk(order, numbers, keys_here=keys_here)


def _chunk(order: BulkOrder, numbers: Sequence[int], *, keys_here: bool) -> BulkChunk:
    backend = settings.PKI_LEAF_KEY_BACKEND if keys_here else ""
    return BulkChunk(order_id=order.pk, first=numbers[0], last=numbers[-1], key_backend=backend)
