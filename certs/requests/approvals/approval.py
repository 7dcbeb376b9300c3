"""A person's word on a request that the policy does not allow by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings

from audit.events import EventType
from audit.log import Actor, Event, Value
from audit.unit_of_work import UnitOfWork
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused
from certs.models import Approval, ApprovalEvidence, CertificateRequest
from certs.pipeline import start_on_commit
from certs.requests.approvals.confirmation import (
    CodeProof,
    PasskeyProof,
    Proof,
    check_code,
    check_passkey,
    evidence_data,
    evidence_of_code,
)
from certs.requests.approvals.deciders import check_may_decide
from certs.requests.approvals.granted import approvers_needed, grants_that_count, has_approved
from certs.requests.approvals.requesters import ASK_A_MEMBER, requesters_who_left
from certs.requests.approvals.time_limit import check_in_time
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import CANCELLABLE, Move, transition_many
from db.clock import database_now
from policy.publishing import version_in_force
from policy.rules.approval_terms import ApprovalTerms


def approve(request: CertificateRequest, *, user: Any, digest: str, comment: str = "", proof: Proof | None = None) -> CertificateRequest:
    """Approve exactly the content whose digest was shown.

    awaiting_approval -> approved with the last of the approvals that the policy asks for; then the
    chain goes on by itself. An earlier one is kept (`request:endorsed`), and the request waits on.
    `proof`: the approver's passkey or code, which the policy may ask for; kept as evidence. Raises
    NotPermitted, Conflict; NotConfirmed for a proof that is wrong, InputRefused for a missing one.
    """
    return _decide(request, user=user, digest=digest, comment=comment, granted=True, proof=proof)


def reject(request: CertificateRequest, *, user: Any, digest: str, comment: str) -> CertificateRequest:
    """awaiting_approval -> rejected; the comment is the reason that the requester reads."""
    if not comment.strip():
        raise InputRefused("A rejection needs a reason.", field="comment", next_step="Say what the requester should do instead.")
    return _decide(request, user=user, digest=digest, comment=comment, granted=False, proof=None)


def _decide(request: CertificateRequest, *, user: Any, digest: str, comment: str, granted: bool, proof: Proof | None) -> CertificateRequest:
    check_may_decide(user, request)
    # before the transaction: the refusal would roll back its own record, and a failure the use of a code
    actor = Actor("user", user.get_username())
    refuse_secrets(comment, actor=actor, team=request.team.slug, field="comment")
    code = check_code(user, proof) if isinstance(proof, CodeProof) else None
    with UnitOfWork() as work:
        shown = _Shown(digest, comment, proof, code)
        return _record_decision(work, request, user=user, shown=shown, granted=granted)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the person sent with the decision. `code`: the second factor whose code was checked."""

    digest: str
    comment: str
    proof: Proof | None
    code: Authenticator | None


def _record_decision(work: UnitOfWork, request: CertificateRequest, *, user: Any, shown: _Shown, granted: bool) -> CertificateRequest:
    # 1. Lock the row: of two decisions at once the second sees what the first has left.
    request = CertificateRequest.objects.select_for_update(of=("self",)).select_related("requester", "team").get(pk=request.pk)
    alone, now = check_may_decide(user, request), database_now()
    # 2. Refuse what does not count any more.
    if request.digest != shown.digest:
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
    terms = terms_in_force(now)
    grants = grants_that_count(request, terms) if granted else []
    if granted and has_approved(user, grants):
        raise Conflict(f"You have approved {request.public_id} already.", next_step="It needs the approval of another person too.")
    # 3. Write the decision with its evidence. The request goes on with the last approval that the policy in force asks for.
    evidence = _evidence(request, shown, terms, user=user, now=now) if granted else None
    comment = shown.comment
    row = Approval.objects.create(
        request=request, approver=user, digest=shown.digest, granted=granted, comment=comment[:500], decided_at=now
    )
    if evidence is not None:
        evidence.approval = row
        evidence.save(force_insert=True)
    actor = Actor("user", user.get_username())
    data: dict[str, Value] = {"digest": shown.digest, "approver": user.get_username()} | ({"single_officer": True} if alone else {})
    data |= evidence_data(evidence) if evidence is not None else {}
    needed = approvers_needed(terms)
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


def _evidence(request: CertificateRequest, shown: _Shown, terms: ApprovalTerms, *, user: Any, now: datetime) -> ApprovalEvidence | None:
    if isinstance(shown.proof, PasskeyProof):
        return check_passkey(request, shown.proof, user=user, now=now)
    if shown.code is not None:
        return evidence_of_code(shown.code, now=now)
    if terms.confirmed:
        raise InputRefused(
            "The policy asks you to confirm an approval with a second factor.",
            field="code",
            next_step="Use your passkey, or type the code of your authenticator app.",
        )
    return None


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
