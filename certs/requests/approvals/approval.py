"""A person's word on a request that the policy does not allow by itself."""

from __future__ import annotations

from typing import Any

from audit.events import EventType
from audit.log import Actor, Value
from audit.unit_of_work import UnitOfWork
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused
from certs.models import Approval, CertificateRequest
from certs.pipeline import start_on_commit
from certs.requests.approvals.deciders import check_may_decide
from certs.requests.approvals.requesters import ASK_A_MEMBER, requesters_who_left
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import CANCELLABLE, Move, transition_many
from db.clock import database_now


def approve(request: CertificateRequest, *, user: Any, digest: str, comment: str = "") -> CertificateRequest:
    """awaiting_approval -> approved, for exactly the content whose digest was shown. The chain goes on by itself."""
    return _decide(request, user=user, digest=digest, comment=comment, granted=True)


def reject(request: CertificateRequest, *, user: Any, digest: str, comment: str) -> CertificateRequest:
    """awaiting_approval -> rejected; the comment is the reason that the requester reads."""
    if not comment.strip():
        raise InputRefused("A rejection needs a reason.", field="comment", next_step="Say what the requester should do instead.")
    return _decide(request, user=user, digest=digest, comment=comment, granted=False)


def _decide(request: CertificateRequest, *, user: Any, digest: str, comment: str, granted: bool) -> CertificateRequest:
    check_may_decide(user, request)
    # before the transaction: the refusal would roll back its own record
    actor = Actor("user", user.get_username())
    refuse_secrets(comment, actor=actor, team=request.team.slug, field="comment")
    with UnitOfWork() as work:
        return _record_decision(work, request, user=user, digest=digest, comment=comment, granted=granted)


def _record_decision(
    work: UnitOfWork, request: CertificateRequest, *, user: Any, digest: str, comment: str, granted: bool
) -> CertificateRequest:
    request = CertificateRequest.objects.select_for_update(of=("self",)).select_related("requester", "team").get(pk=request.pk)
    alone = check_may_decide(user, request)
    if request.digest != digest:
        raise Conflict("What you were shown is not this request's content.", next_step="Open the page again and decide on what it shows.")
    if request.state != S.AWAITING_APPROVAL:
        raise Conflict(f"{request.public_id} does not wait for approval any more (it is {request.state}).")
    left = requesters_who_left([request])
    if granted and left:
        raise Conflict(f"{left[request.pk]}, so an approval has no effect.", next_step=f"Reject it. {ASK_A_MEMBER}")
    now, actor = database_now(), Actor("user", user.get_username())
    if granted and request.validity.days_left(now) < 1:
        raise Conflict(
            f"The end date of {request.public_id}, {request.not_after}, is over, or almost over.",
            field="not_after",
            next_step="Reject it with that reason; the requester can ask again with a later end date.",
        )
    data: dict[str, Value] = {"digest": digest, "approver": user.get_username()} | ({"single_officer": True} if alone else {})
    Approval.objects.create(request=request, approver=user, digest=digest, granted=granted, comment=comment[:500], decided_at=now)
    event = EventType.REQUEST_APPROVED if granted else EventType.REQUEST_REJECTED
    fields = {} if granted else {"error": f"Rejected by {user.get_username()}: {comment}"[:1000]}
    move = Move(request, (S.APPROVED if granted else S.REJECTED,), ((event, data),), fields)
    transition_many(work, [move], source=S.AWAITING_APPROVAL, actor=actor, now=now)
    if granted:
        start_on_commit([request.pk], at=S.APPROVED)
    return request


def cancel(request: CertificateRequest, *, authority: Authority) -> CertificateRequest:
    """End a request that has no certificate yet. What an attempt under way brings home is revoked by the reaper.

    Raises NotFound, NotPermitted; Conflict for a request that has a certificate or has ended.
    """
    with UnitOfWork() as work:
        authority.check_may_act(request)
        request = CertificateRequest.objects.select_for_update().get(pk=request.pk)
        state = S(request.state)
        if state not in CANCELLABLE:
            raise Conflict(f"{request.public_id} cannot be cancelled any more (it is {state}).")
        event = (EventType.REQUEST_CANCELLED, {"state": str(state)})
        move = Move(request, (S.CANCELLED,), (event,), {"held_since": None, "error": ""})
        transition_many(work, [move], source=state, actor=authority.actor, now=database_now())
    return request
