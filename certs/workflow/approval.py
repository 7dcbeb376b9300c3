"""A person's word on a request that the policy does not allow by itself."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor
from certs.access.permissions import Authority, Permission, holds
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import Approval, CertificateRequest
from certs.requests.refused_secrets import refuse_secrets
from certs.terms import RequestState as S
from certs.workflow.canvas import start_on_commit
from certs.workflow.states import Move, transition_many


def may_approve(user: Any, request: CertificateRequest) -> bool:
    """Approvers, but never the person who asked (compared as persons, PROTOCOLS 6)."""
    return holds(user, Permission.DECIDE_REQUESTS) and not _same_person(user, request.requester)


def _same_person(one: Any, other: Any) -> bool:
    if other is None:
        return False
    return one.pk == other.pk or bool(one.email and one.email.lower() == (other.email or "").lower())


def approve(request: CertificateRequest, *, user: Any, digest: str, comment: str = "") -> CertificateRequest:
    """awaiting_approval -> approved, for exactly the content whose digest was shown. The chain goes on by itself."""
    return _decide(request, user=user, digest=digest, comment=comment, granted=True)


def reject(request: CertificateRequest, *, user: Any, digest: str, comment: str) -> CertificateRequest:
    """awaiting_approval -> rejected; the comment is the reason that the requester reads."""
    if not comment.strip():
        raise InputRefused("A rejection needs a reason.", field="comment", next_step="Say what the requester should do instead.")
    return _decide(request, user=user, digest=digest, comment=comment, granted=False)


def _decide(request: CertificateRequest, *, user: Any, digest: str, comment: str, granted: bool) -> CertificateRequest:
    if not may_approve(user, request):
        raise NotPermitted("Only a member of the security team who is not the requester may decide this.", next_step="Ask a colleague.")
    # before the transaction: the refusal would roll back its own record
    actor = Actor("user", user.get_username())
    refuse_secrets(comment, actor=actor, team=request.team.slug, field="comment")
    return _record_decision(request, user=user, digest=digest, comment=comment, granted=granted)


@transaction.atomic
def _record_decision(request: CertificateRequest, *, user: Any, digest: str, comment: str, granted: bool) -> CertificateRequest:
    request = CertificateRequest.objects.select_for_update(of=("self",)).select_related("requester").get(pk=request.pk)
    if request.digest != digest:
        raise Conflict("What you were shown is not this request's content.", next_step="Open the page again and decide on what it shows.")
    if request.state != S.AWAITING_APPROVAL:
        raise Conflict(f"{request.public_id} does not wait for approval any more (it is {request.state}).")
    now, actor = database_now(), Actor("user", user.get_username())
    if granted and request.validity.days_left(now) < 1:
        raise Conflict(
            f"The end date of {request.public_id}, {request.not_after}, is over, or almost over.",
            field="not_after",
            next_step="Reject it with that reason; the requester can ask again with a later end date.",
        )
    Approval.objects.create(request=request, approver=user, digest=digest, granted=granted, comment=comment[:500], decided_at=now)
    event = EventType.REQUEST_APPROVED if granted else EventType.REQUEST_REJECTED
    fields = {} if granted else {"error": f"Rejected by {user.get_username()}: {comment}"[:1000]}
    move = Move(request, (S.APPROVED if granted else S.REJECTED,), ((event, {"digest": digest, "approver": user.get_username()}),), fields)
    transition_many([move], source=S.AWAITING_APPROVAL, actor=actor, now=now)
    if granted:
        start_on_commit([request.pk], at=S.APPROVED)
    return request


@transaction.atomic
def cancel(request: CertificateRequest, *, authority: Authority) -> CertificateRequest:
    """End a request that has no certificate yet. What an attempt under way brings home is revoked by the reaper.

    Raises NotFound, NotPermitted; Conflict for a request that has a certificate or has ended.
    """
    authority.check_may_act(request)
    request = CertificateRequest.objects.select_for_update().get(pk=request.pk)
    state = S(request.state)
    if state not in (S.SUBMITTED, S.AWAITING_APPROVAL, S.APPROVED, S.KEY_READY, S.CSR_CREATED, S.FAILED):
        raise Conflict(f"{request.public_id} cannot be cancelled any more (it is {state}).")
    transition_many(
        [Move(request, (S.CANCELLED,), ((EventType.REQUEST_CANCELLED, {"state": str(state)}),), {"held_since": None, "error": ""})],
        source=state,
        actor=authority.actor,
        now=database_now(),
    )
    return request
