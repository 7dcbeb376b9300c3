"""A person's word on a request that the policy does not allow by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings

from audit.events import EventType
from audit.log import Actor, Event, Value
from audit.unit_of_work import UnitOfWork
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused
from certs.models import Approval, CertificateRequest
from certs.pipeline import start_on_commit
from certs.requests.approvals.deciders import check_may_decide
from certs.requests.approvals.granted import approvers_needed, grants_that_count, has_approved
from certs.requests.approvals.requesters import ASK_A_MEMBER, requesters_who_left
from certs.requests.approvals.time_limit import check_in_time
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import CANCELLABLE, Move, transition_many
from db.clock import database_now
from policy.publishing import version_in_force
from policy.rules.approval_terms import ApprovalTerms


def approve(request: CertificateRequest, *, user: Any, digest: str, comment: str = "") -> CertificateRequest:
    """Approve exactly the content whose digest was shown.

    awaiting_approval -> approved with the last of the approvals that the policy asks for; then the
    chain goes on by itself. An earlier one is kept (`request:endorsed`), and the request waits on.
    """
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
    # 1. Lock the row: of two decisions at once the second sees what the first has left.
    request = CertificateRequest.objects.select_for_update(of=("self",)).select_related("requester", "team").get(pk=request.pk)
    alone, now = check_may_decide(user, request), database_now()
    # 2. Refuse what does not count any more.
    if request.digest != digest:
        raise Conflict("What you were shown is not this request's content.", next_step="Open the page again and decide on what it shows.")
    if request.state != S.AWAITING_APPROVAL:
        raise Conflict(f"{request.public_id} does not wait for approval any more (it is {request.state}).")
    check_in_time(request, now=now)
    left = requesters_who_left([request])
    if granted and left:
        raise Conflict(f"{left[request.pk]}, so an approval has no effect.", next_step=f"Reject it. {ASK_A_MEMBER}")
    if granted and request.validity.days_left(now) < 1:
        raise Conflict(
            f"The end date of {request.public_id}, {request.not_after}, is over, or almost over.",
            field="not_after",
            next_step="Reject it with that reason; the requester can ask again with a later end date.",
        )
    grants = grants_that_count(request) if granted else []
    if granted and has_approved(user, grants):
        raise Conflict(f"You have approved {request.public_id} already.", next_step="It needs the approval of another person too.")
    # 3. Write the decision. The request goes on with the last approval that the policy in force asks for.
    Approval.objects.create(request=request, approver=user, digest=digest, granted=granted, comment=comment[:500], decided_at=now)
    actor = Actor("user", user.get_username())
    data: dict[str, Value] = {"digest": digest, "approver": user.get_username()} | ({"single_officer": True} if alone else {})
    needed = approvers_needed(terms_in_force(now))
    if granted and len(grants) + 1 < needed:
        data |= {"approvals": len(grants) + 1, "needed": needed}
        work.record([Event(EventType.REQUEST_ENDORSED, request.subject, actor, now, data)])
        return request
    event = EventType.REQUEST_APPROVED if granted else EventType.REQUEST_REJECTED
    fields = {} if granted else {"error": f"Rejected by {user.get_username()}: {comment}"[:1000]}
    move = Move(request, (S.APPROVED if granted else S.REJECTED,), ((event, data),), fields)
    transition_many(work, [move], source=S.AWAITING_APPROVAL, actor=actor, now=now)
    if granted:
        start_on_commit([request.pk], at=S.APPROVED)
    return request


def terms_in_force(now: datetime) -> ApprovalTerms:
    """Return what an approval takes under the policy in force."""
    return version_in_force(settings.PKI_DEFAULT_POLICY, now).ruleset.approval


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
