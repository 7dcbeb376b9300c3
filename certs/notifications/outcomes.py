"""Notices about single requests: they wait for an approval, or they were approved, refused or failed.

Called by `certs.requests.states.transition_many`, the only writer of request states, so that every
channel and every step notifies in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import prefetch_related_objects

from audit.events import EventType
from audit.log import Actor
from certs.access.permissions import Permission, holders_of
from certs.enums import Channel
from certs.enums import RequestState as S
from certs.models import ApprovalQuestion, BulkOrder, CertificateRequest
from certs.notifications.audience import approvers_of, approvers_of_order, requester_of, to_user
from certs.notifications.delivery.bundles import Kind, Line
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import all_of, count_of, short_day


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request that has just moved from one state to another; `event` is the last thing on its way."""

    request: CertificateRequest
    source: S
    state: S
    event: EventType | None = None


def notify_outcomes(outcomes: Sequence[Outcome], *, actor: Actor, now: datetime) -> None:
    """Write the notices about requests that have just moved. Needs the transaction of the move.

    A refusal at submission writes none: the channel shows it at once. Lines of a bulk order write
    none: the order has a mail of its own when it ends, and one when it first waits for an approval.
    """
    lines_waiting = []
    notices = []
    for outcome in outcomes:
        write = _NOTICES.get((outcome.source, outcome.state)) or _NOTICES.get((None, outcome.state))
        if outcome.event is EventType.REQUEST_LAPSED:
            write = _lapsed
        # Renewals that no person requested have notices of their own: see certs.renewal.
        if write is None or outcome.request.door == Channel.SCHEDULE:
            continue
        if outcome.request.bulk_item_id is None:
            notices.append((write, outcome.request))
        elif outcome.state is S.AWAITING_APPROVAL:
            lines_waiting.append(outcome.request.bulk_item_id)
    prefetch_related_objects([request for _, request in notices], "team", "requester")
    for write, request in notices:
        write(request, actor, now)
    orders = BulkOrder.objects.filter(items__in=lines_waiting) if lines_waiting else ()
    for order in {order.pk: order for order in orders}.values():
        _order_waits(order, now)


def _names(request: CertificateRequest) -> str:
    return count_of(request.names) if request.names else request.common_name or request.public_id


def _waits(request: CertificateRequest, _actor: Actor, now: datetime) -> None:
    limit = getattr(request, "approval_limit", None)  # set with the row, which is written after the notices
    by_when = f" by {short_day(limit.lapses_at)}" if limit is not None else ""
    notify(
        Topic.APPROVAL,
        key=f"approval:{request.public_id}",
        audience=approvers_of(request),
        subject=f"Approve or reject{by_when}: {_names(request)} for team {request.team.name}",
        template="approval",
        context={"request": request, "names": request.names, "lapses_at": limit.lapses_at if limit is not None else None, "now": now},
        now=now,
        reply_to=_reply_to(request),
        bundle=_line(Kind.WAITS, request, f"For team {request.team.name}"),
    )


def _line(kind: Kind, request: CertificateRequest, why: str) -> Line:
    """Return what a bundle says about the request."""
    return Line(kind, _names(request), why, f"/requests/{request.public_id}/")


def _order_waits(order: BulkOrder, now: datetime) -> None:
    notify(
        Topic.APPROVAL,
        key=f"approval:{order.public_id}",
        audience=approvers_of_order(order),
        subject=f"Approve or reject: lines of the bulk order {order.title}",
        template="approval_order",
        context={"order": order},
        now=now,
        reply_to=order.team.email,
    )


def _approved(request: CertificateRequest, actor: Actor, now: datetime) -> None:
    by = _approvers(request) or actor.name
    bundle = _line(Kind.APPROVED, request, f"By {by}")
    _notify_requester(request, f"Approved: {_names(request)}", "request_approved", bundle, by, now)


def _approvers(request: CertificateRequest) -> str:
    """Return all whose approval counts: the policy may want several, and the actor is only the last."""
    rows = request.approvals.filter(granted=True, digest=request.digest, approver__in=holders_of(Permission.DECIDE_REQUESTS)).order_by("pk")
    return all_of(list(rows.values_list("approver__username", flat=True)))


def _refused(request: CertificateRequest, actor: Actor, now: datetime) -> None:
    bundle = _line(Kind.REFUSED, request, request.error)
    _notify_requester(request, f"Refused: {_names(request)}", "request_refused", bundle, actor.name, now)


def _lapsed(request: CertificateRequest, actor: Actor, now: datetime) -> None:
    bundle = _line(Kind.LAPSED, request, request.error)
    _notify_requester(request, f"Lapsed: {_names(request)}", "request_lapsed", bundle, actor.name, now)
    notify(
        Topic.APPROVAL,
        key=f"approval:{request.public_id}:lapsed",
        audience=approvers_of(request),
        subject=f"Lapsed without a decision: {_names(request)} for team {request.team.name}",
        template="approval_lapsed",
        context={"request": request, "names": request.names},
        now=now,
    )


def remind_approvers(request: CertificateRequest, *, lapses_at: datetime | None, by: str, now: datetime) -> None:
    """Write a reminder to the people who may decide the request; `by` asks for it. Needs a transaction."""
    by_when = f" by {short_day(lapses_at)}" if lapses_at is not None else ""
    notify(
        Topic.APPROVAL,
        key=f"approval:{request.public_id}:reminder:{now:%Y%m%d%H%M%S}",
        audience=approvers_of(request),
        subject=f"Still waiting{by_when}: {_names(request)} for team {request.team.name}",
        template="approval_reminder",
        context={"request": request, "names": request.names, "lapses_at": lapses_at, "by": by, "now": now},
        now=now,
        reply_to=_reply_to(request),
    )


def send_question(asked: ApprovalQuestion, *, now: datetime) -> None:
    """Write an approver's question to the requester. Needs the transaction of the question."""
    request = asked.request
    notify(
        Topic.DECISION,
        key=f"question:{asked.pk}",
        audience=requester_of(request),
        subject=f"Question about {_names(request)}",
        template="approval_question",
        context={"request": request, "asked": asked},
        now=now,
        reply_to=asked.asker.email,
    )


def send_answer(asked: ApprovalQuestion, *, now: datetime) -> None:
    """Write the answer to the approver who asked. Needs the transaction of the answer."""
    request = asked.request
    notify(
        Topic.APPROVAL,
        key=f"answer:{asked.pk}",
        audience=to_user(asked.asker),
        subject=f"Answer about {_names(request)} for team {request.team.name}",
        template="approval_answer",
        context={"request": request, "asked": asked},
        now=now,
        reply_to=_reply_to(request),
    )


def _failed(request: CertificateRequest, actor: Actor, now: datetime) -> None:
    bundle = _line(Kind.FAILED, request, request.error)
    _notify_requester(request, f"Failed: {_names(request)}", "request_failed", bundle, actor.name, now)


def _notify_requester(request: CertificateRequest, subject: str, template: str, bundle: Line, by: str, now: datetime) -> None:
    notify(
        Topic.DECISION,
        key=f"{template}:{request.public_id}:{now:%Y%m%d%H%M%S}",
        audience=requester_of(request),
        subject=subject,
        template=template,
        context={"request": request, "names": request.names, "by": by, "now": now},
        now=now,
        bundle=bundle,
    )


def _reply_to(request: CertificateRequest) -> str:
    """Return where an approver's question goes: to the requester, else to the team."""
    person = request.requester
    return (person.email if person is not None else "") or request.team.email


# By the state before (None: any) and the state now.
_NOTICES: dict[tuple[S | None, S], Callable[[CertificateRequest, Actor, datetime], None]] = {
    (None, S.AWAITING_APPROVAL): _waits,
    (S.AWAITING_APPROVAL, S.APPROVED): _approved,
    (S.AWAITING_APPROVAL, S.REJECTED): _refused,
    (S.APPROVED, S.REJECTED): _refused,
    (S.KEY_READY, S.REJECTED): _refused,
    (S.CSR_CREATED, S.REJECTED): _refused,
    (None, S.FAILED): _failed,
}
