"""Approve, reject or cancel requests that the policy does not allow without a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings

from audit.events import EventType
from audit.log import Actor, Event, UnitOfWork, Value
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused
from certs.models import Approval, ApprovalEvidence, BulkOrder, CertificateRequest, Team
from certs.pipeline import start_on_commit
from certs.requests.approvals.confirmation import (
    CodeProof,
    PasskeyProof,
    Proof,
    check_code,
    check_passkey,
    check_passkey_for_lines,
    copy_of,
    digest_of_lines,
    evidence_data,
    evidence_of_code,
    keep_lines,
)
from certs.requests.approvals.deciders import check_may_decide, check_may_decide_all
from certs.requests.approvals.granted import approved_by, approvers_needed, grants_of
from certs.requests.approvals.requesters import ASK_A_MEMBER, requesters_who_left
from certs.requests.approvals.time_limit import lapsed
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import CANCELLABLE, Move, transition_many
from db.clock import database_now
from policy.persons import lock_account
from policy.publishing import version_in_force
from policy.rules.approval_terms import ApprovalTerms


def approve(request: CertificateRequest, *, user: Any, digest: str, comment: str = "", proof: Proof | None = None) -> CertificateRequest:
    """Approve exactly the content whose digest was shown.

    awaiting_approval -> approved with the last of the approvals that the policy asks for; then the
    chain starts again. An earlier one is kept (`request:endorsed`), and the request goes on waiting.
    `proof`: the approver's passkey or code, which the policy may ask for; kept as evidence. Raises
    NotPermitted, Conflict; NotConfirmed for a proof that is wrong, InputRefused for a missing one.
    """
    return _decide(request, user=user, digest=digest, comment=comment, granted=True, proof=proof)


def reject(request: CertificateRequest, *, user: Any, digest: str, comment: str) -> CertificateRequest:
    """Reject a request that waits for approval; the comment is the reason that the requester reads."""
    _check_reason(comment)
    return _decide(request, user=user, digest=digest, comment=comment, granted=False, proof=None)


def approve_lines(
    order: BulkOrder,
    requests: Sequence[CertificateRequest],
    *,
    user: Any,
    digest: str,
    comment: str = "",
    proof: Proof | None = None,
) -> int:
    """Approve lines of an order together: all of them, or none. Returns how many go on now.

    `digest`: `digest_of_lines` of what was shown. Each line gets its own approval, evidence and
    event, as if it had been approved alone; the proof is over the digest of all lines. Raises
    what `approve` raises, and Conflict where one of the lines is not what it was when it was shown.
    """
    return _decide_lines(order, requests, user=user, digest=digest, comment=comment, granted=True, proof=proof)


def reject_lines(
    order: BulkOrder,
    requests: Sequence[CertificateRequest],
    *,
    user: Any,
    digest: str,
    comment: str,
) -> int:
    """Reject lines of an order together, with one reason: all of them, or none. Returns how many."""
    _check_reason(comment)
    return _decide_lines(order, requests, user=user, digest=digest, comment=comment, granted=False, proof=None)


def _check_reason(comment: str) -> None:
    if not comment.strip():
        raise InputRefused("A rejection needs a reason.", field="comment", next_step="Say what the requester should do instead.")


@dataclass(frozen=True, slots=True)
class _Decision:
    """What a person decides. `code`: the second factor whose code was checked."""

    user: Any
    comment: str
    granted: bool
    proof: Proof | None
    code: Authenticator | None

    @property
    def actor(self) -> Actor:
        return Actor("user", self.user.get_username())


def _decision(user: Any, team: Team, *, comment: str, granted: bool, proof: Proof | None) -> _Decision:
    """Check the comment and the code, before the transaction of the decision.

    A refusal would roll back its own record, and a failure the use of a code.
    """
    actor = Actor("user", user.get_username())
    refuse_secrets(comment, actor=actor, team=team.slug, field="comment")
    code = check_code(user, proof) if isinstance(proof, CodeProof) else None
    return _Decision(user, comment, granted, proof, code)


def _decide(request: CertificateRequest, *, user: Any, digest: str, comment: str, granted: bool, proof: Proof | None) -> CertificateRequest:
    check_may_decide(user, request)
    decision = _decision(user, request.team, comment=comment, granted=granted, proof=proof)
    with UnitOfWork() as work:
        # 1. Lock the row: of two decisions at once the second sees what the first has left.
        request = _locked([request])[0]
        lock_account(user)
        alone, now = check_may_decide(user, request), database_now()
        # 2. Refuse what does not count any more.
        if request.digest != digest:
            raise Conflict(
                "What you were shown is not this request's content.", next_step="Open the page again and decide on what it shows."
            )
        terms = terms_in_force(now)
        refused = refusals([request], user=user, granted=granted, terms=terms, now=now)
        if refused:
            raise refused[request.pk]
        # 3. Write the decision with its evidence.
        evidence = None
        if granted and isinstance(proof, PasskeyProof):
            evidence = check_passkey(request, proof, user=user, now=now)
        elif granted:
            evidence = _evidence_of_code(decision, terms, now=now)
        _write(work, [request], decision, evidence, terms, alone={request.pk: alone}, now=now)
    return request


def _decide_lines(
    order: BulkOrder,
    requests: Sequence[CertificateRequest],
    *,
    user: Any,
    digest: str,
    comment: str,
    granted: bool,
    proof: Proof | None,
) -> int:
    check_may_decide_all(user, requests)
    decision = _decision(user, order.team, comment=comment, granted=granted, proof=proof)
    with UnitOfWork() as work:
        # 1. Lock the rows in the order of their ids, as every writer of several rows does.
        rows = _locked(requests)
        lock_account(user)
        alone, now = check_may_decide_all(user, rows), database_now()
        # 2. All or none: a signature is over all of them, and the person saw all of them.
        digests = [row.digest for row in rows]
        terms = terms_in_force(now)
        refused = refusals(rows, user=user, granted=granted, terms=terms, now=now)
        if not rows or refused or digest_of_lines(digests) != digest:
            raise Conflict(
                "The lines have changed since you saw them. Nothing was decided.",
                next_step="Look at them again, and decide then.",
            )
        # 3. Write each decision with the evidence of all.
        evidence = None
        if granted and isinstance(proof, PasskeyProof):
            evidence = check_passkey_for_lines(order, digests, proof, user=user, now=now)
        elif granted:
            evidence = _evidence_of_code(decision, terms, now=now)
            if evidence is not None:
                evidence.lines = keep_lines(order, digests, user=user)
        return _write(work, rows, decision, evidence, terms, alone=alone, now=now)


def _locked(requests: Sequence[CertificateRequest]) -> list[CertificateRequest]:
    rows = CertificateRequest.objects.select_for_update(of=("self",)).select_related("requester", "team")
    return list(rows.filter(pk__in=[one.pk for one in requests]).order_by("pk"))


def refusals(
    requests: Sequence[CertificateRequest],
    *,
    user: Any,
    granted: bool,
    terms: ApprovalTerms,
    now: datetime,
) -> dict[int, Conflict]:
    """Return by request why it cannot be decided so now. A fixed number of queries."""
    over = lapsed(requests, now=now)
    left = requesters_who_left(requests) if granted else {}
    approved = approved_by(user, grants_of(requests, terms)) if granted else set()
    found: dict[int, Conflict] = {}
    for request in requests:
        pk, name = request.pk, request.public_id
        if request.state != S.AWAITING_APPROVAL:
            found[pk] = Conflict(f"{name} does not wait for approval any more (now: {request.state_words}).")
        elif pk in over:
            found[pk] = over[pk]
        elif pk in left:
            found[pk] = Conflict(f"{left[pk]}, so an approval has no effect.", next_step=f"Reject it. {ASK_A_MEMBER}")
        elif granted and request.validity.days_left(now) < 1:
            found[pk] = Conflict(
                f"The end date of {name}, {request.not_after}, is over, or almost over.",
                field="not_after",
                next_step="Reject it with that reason; the requester can ask again with a later end date.",
            )
        elif pk in approved:
            found[pk] = Conflict(f"You have approved {name} already.", next_step="It needs the approval of another person too.")
    return found


def _write(
    work: UnitOfWork,
    requests: Sequence[CertificateRequest],
    decision: _Decision,
    evidence: ApprovalEvidence | None,
    terms: ApprovalTerms,
    *,
    alone: Mapping[int, bool],
    now: datetime,
) -> int:
    """Write one decision on each of the locked requests. Returns how many of them go on, or end, with it.

    A request goes on with the last approval that the policy in force asks for. Effects, in `work`:
    the approvals, the evidence of each, states, events and notices; the chain starts at the commit.
    """
    user, granted, needed = decision.user, decision.granted, approvers_needed(terms)
    grants = grants_of(requests, terms) if granted else {}
    rows = {
        one.pk: Approval(
            request=one,
            approver=user,
            digest=one.digest,
            granted=granted,
            comment=decision.comment[:500],
            decided_at=now,
        )
        for one in requests
    }
    Approval.objects.bulk_create(rows.values())
    if evidence is not None:
        ApprovalEvidence.objects.bulk_create([copy_of(evidence, row) for row in rows.values()])
    moves, endorsed = [], []
    for request in requests:
        data: dict[str, Value] = {"digest": request.digest, "approver": user.get_username()}
        data |= {"single_officer": True} if alone[request.pk] else {}
        data |= evidence_data(evidence) if evidence is not None else {}
        if len(requests) > 1:
            data |= {"decided_together": len(requests)}
        if granted and len(grants[request.pk]) + 1 < needed:
            data |= {"approvals": len(grants[request.pk]) + 1, "needed": needed}
            endorsed.append(Event(EventType.REQUEST_ENDORSED, request.subject, decision.actor, now, data))
            continue
        event = EventType.REQUEST_APPROVED if granted else EventType.REQUEST_REJECTED
        fields = {} if granted else {"error": f"Rejected by {user.get_username()}: {decision.comment}"[:1000]}
        moves.append(Move(request, (S.APPROVED if granted else S.REJECTED,), ((event, data),), fields))
    work.record(endorsed)
    if moves:
        transition_many(work, moves, source=S.AWAITING_APPROVAL, actor=decision.actor, now=now)
    if granted and moves:
        # Many lines go to the bulk queue, so that no single request waits behind them.
        start_on_commit([move.request.pk for move in moves], at=S.APPROVED, bulk=len(moves) > 1)
    return len(moves)


def _evidence_of_code(decision: _Decision, terms: ApprovalTerms, *, now: datetime) -> ApprovalEvidence | None:
    if decision.code is not None:
        return evidence_of_code(decision.code, now=now)
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
    """End a request that has no certificate yet. A certificate that an attempt still under way brings is revoked by the sweeper.

    Raises NotFound, NotPermitted; Conflict for a request that has a certificate or has ended.
    """
    with UnitOfWork() as work:
        authority.check_may_act(request)
        request = CertificateRequest.objects.select_for_update().get(pk=request.pk)
        authority.check_may_act(request)  # the right may have been lost while this waited for the lock
        state = S(request.state)
        if state not in CANCELLABLE:
            raise Conflict(f"{request.public_id} cannot be cancelled any more (now: {state.words}).")
        event = (EventType.REQUEST_CANCELLED, {"state": str(state)})
        move = Move(request, (S.CANCELLED,), (event,), {"held_since": None, "error": ""})
        transition_many(work, [move], source=state, actor=authority.actor, now=database_now())
    return request
