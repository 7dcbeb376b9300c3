"""Step 1: evaluate the policy. A denied request ends here, without key and CSR, and its refusal says what would pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from audit.events import EventType
from audit.log import UnitOfWork
from certs.enums import RequestState as S
from certs.issuance.steps.external_csr import accept_external
from certs.models import Approval, CertificateRequest, PolicyEvaluation, WaiverUse
from certs.requests.approvals.inherited_approvals import inherit_approvals
from certs.requests.approvals.time_limit import limits_for
from certs.requests.facts.policy_facts import PolicyFacts, evaluate_many, policy_input
from certs.requests.states import WORKER, Move, transition_many
from policy.engine import Decision, Outcome
from policy.recorded import facts_digest, recorded
from policy.waivers.waiver import waiver_id


def decide(
    work: UnitOfWork, requests: Sequence[CertificateRequest], *, now: datetime, known: PolicyFacts | None = None
) -> Mapping[int, Decision]:
    """Move requests from submitted to approved, awaiting_approval or rejected; an external CSR that is allowed goes on to csr_created.

    `known`: the facts of these requests, where they were read in this transaction. Returns the
    decisions by request id. Effects: the evaluations, states, `policy:evaluated` and what follows from it.
    """
    if not requests:
        return {}
    # 1. Evaluate under the version in force now. The facts are stored with the decision, so that it can be repeated from them.
    version, decisions = evaluate_many([policy_input(request) for request in requests], at=now, known=known)
    decided = list(zip(requests, decisions, strict=True))
    digests = keep_evaluations(work, decided, now=now)
    # 2. An allowed request with an external CSR waits for nothing outside the database.
    straight_on = [(request, decision) for request, decision in decided if request.csr_brought and decision.outcome is Outcome.ALLOW]
    for request, decision in straight_on:
        request.policy_version = decision.policy_version
    evaluated = {
        request.pk: ((EventType.POLICY_EVALUATED, evaluation_data(decision, digests[request.pk])),) for request, decision in straight_on
    }
    if straight_on:
        accept_external(work, [request for request, _ in straight_on], source=S.SUBMITTED, now=now, before=evaluated)
    # 3. A renewal of the same content may inherit its approval; any other request waits for one until its time limit.
    inherited: Mapping[int, Sequence[Approval]] = {}
    if asking := [request for request, decision in decided if decision.outcome is Outcome.NEEDS_APPROVAL]:
        ruleset = version.ruleset
        inherited = inherit_approvals(asking, valid_days=ruleset.approval_valid_days, terms=ruleset.approval, at=now)
        work.insert(limits_for([request for request in asking if request.pk not in inherited], ruleset.approval, now=now))
    # 4. Each of the others goes where its decision leads.
    others = [(request, decision) for request, decision in decided if request.pk not in evaluated]
    moves = [_move(request, decision, digests[request.pk], inherited.get(request.pk, [])) for request, decision in others]
    transition_many(work, moves, source=S.SUBMITTED, actor=WORKER, now=now)
    return {request.pk: decision for request, decision in decided}


def _move(request: CertificateRequest, decision: Decision, facts_sha256: str, inherited: Sequence[Approval]) -> Move:
    evaluated = (EventType.POLICY_EVALUATED, evaluation_data(decision, facts_sha256))
    fields: dict[str, Any] = {"policy_version": decision.policy_version}
    match decision.outcome:
        case Outcome.ALLOW:
            return Move(request, (S.APPROVED,), (evaluated,), fields)
        case Outcome.NEEDS_APPROVAL if inherited:
            # One event for each approval; the last one moves the request.
            kinds = [EventType.REQUEST_ENDORSED] * (len(inherited) - 1) + [EventType.REQUEST_APPROVED]
            return Move(
                request, (S.APPROVED,), (evaluated, *((k, _inherited(one)) for k, one in zip(kinds, inherited, strict=True))), fields
            )
        case Outcome.NEEDS_APPROVAL:
            return Move(request, (S.AWAITING_APPROVAL,), (evaluated,), fields)
        case _:
            message, suggestion = refusal(decision)
            fields |= {"error": message[:1000], "suggestion": suggestion[:1000]}
            rejected = (
                EventType.REQUEST_REJECTED,
                {"problem": "policy", "reason": message[:500], "policy_version": decision.policy_version},
            )
            return Move(request, (S.REJECTED,), (evaluated, rejected), fields)


def _inherited(approval: Approval) -> dict[str, Any]:
    return {
        "digest": approval.digest,
        "approver": approval.approver.get_username(),
        "inherited_from": approval.request.public_id,
    }


def refusal(decision: Decision) -> tuple[str, str]:
    """Return the sentence of a refusal and its suggestion, as every channel shows them."""
    return f"Policy violation: {decision.reason}", decision.advice


def evaluation_data(decision: Decision, facts_sha256: str) -> dict[str, Any]:
    data = {
        "policy_version": decision.policy_version,
        "rules_sha256": decision.rules_digest,
        "facts_sha256": facts_sha256,
        "outcome": str(decision.outcome),
        "failed_rules": [check.rule for check in decision.failures],
    }
    return data | ({"waivers": list(decision.waivers)} if decision.waivers else {})


def keep_evaluations(work: UnitOfWork, decided: Sequence[tuple[CertificateRequest, Decision]], *, now: datetime) -> dict[int, str]:
    """Store each evaluation: its checks, the facts that it follows from, and the waivers that it used.

    Returns the digests of the facts, by request id.
    """
    # Every evaluation is kept, not the last one: a request may be evaluated under several versions before it ends.
    rows, uses = [], []
    for request, decision in decided:
        content, facts = decision.to_dict(), recorded(decision)
        uses += [WaiverUse(request=request, waiver_id=waiver_id(one), used_at=now) for one in decision.waivers]
        rows.append(
            PolicyEvaluation(
                request=request,
                policy_version=decision.policy_version,
                outcome=str(decision.outcome),
                checks=content["checks"],
                suggestion=content["suggestion"],
                evaluated_at=now,
                rules_digest=decision.rules_digest,
                facts=facts,
                facts_digest=facts_digest(facts),
            )
        )
    work.insert(rows, uses)
    return {row.request_id: row.facts_digest for row in rows}
