"""Step 1: evaluate the policy. Denied ends here: no key, no CSR, and the refusal says what would pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.events import EventType
from certs.enums import RequestState as S
from certs.issuance.steps.external_csr import KeyRows, advance_brought
from certs.models import Approval, CertificateRequest, PolicyEvaluation
from certs.models.rows import insert_models, new
from certs.requests.approvals.inherited_approvals import inherit_approvals
from certs.requests.facts.policy_facts import asked_by, evaluate_many
from certs.requests.states import WORKER, Move, lock_ready, transition_many
from db.clock import database_now
from policy.engine import Decision, Outcome


def check_policy(ids: Sequence[int]) -> Sequence[int]:
    """Submitted -> approved | awaiting_approval | rejected."""
    with transaction.atomic():
        now = database_now()
        requests = lock_ready(ids, S.SUBMITTED)
        if requests:
            evaluate_and_move(requests, now=now)
    return ids


def evaluate_and_move(
    requests: Sequence[CertificateRequest],
    *,
    now: datetime,
    read: Sequence[Sequence[Any]] | None = None,
    keys: KeyRows | None = None,
) -> Mapping[int, Decision]:
    """Judge requests that are `submitted` and locked, and move each where its decision leads. Answers the decisions by request id.
    `read`: as for `certs.requests.facts.policy_facts.evaluate_many`. `keys`: as for `advance_brought`.
    """
    version, decisions = evaluate_many([asked_by(request) for request in requests], at=now, read=read)
    keep_evaluations(requests, decisions, now=now)
    judged = list(zip(requests, decisions, strict=True))
    straight_on = [(request, decision) for request, decision in judged if request.csr_brought and decision.outcome is Outcome.ALLOW]
    for request, decision in straight_on:
        request.policy_version = decision.policy_version
    evaluated = {request.pk: ((EventType.POLICY_EVALUATED, evaluation_data(decision)),) for request, decision in straight_on}
    advance_brought([request for request, _ in straight_on], source=S.SUBMITTED, now=now, before=evaluated, keys=keys)
    asking = [request for request, decision in judged if decision.outcome is Outcome.NEEDS_APPROVAL]
    inherited = inherit_approvals(asking, valid_days=version.ruleset.approval_valid_days, at=now) if asking else {}
    moves = [_move(request, decision, inherited.get(request.pk)) for request, decision in judged if request.pk not in evaluated]
    transition_many(moves, source=S.SUBMITTED, actor=WORKER, now=now)
    return {request.pk: decision for request, decision in judged}


def _move(request: CertificateRequest, decision: Decision, inherited: Approval | None) -> Move:
    evaluated = (EventType.POLICY_EVALUATED, evaluation_data(decision))
    fields: dict[str, Any] = {"policy_version": decision.policy_version}
    match decision.outcome:
        case Outcome.ALLOW:
            return Move(request, (S.APPROVED,), (evaluated,), fields)
        case Outcome.NEEDS_APPROVAL if inherited is not None:
            data = {"digest": request.digest, "approver": inherited.approver.get_username(), "inherited_from": inherited.request.public_id}
            return Move(request, (S.APPROVED,), (evaluated, (EventType.REQUEST_APPROVED, data)), fields)
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


def refusal(decision: Decision) -> tuple[str, str]:
    """The sentence of a refusal and its suggestion, as every door shows them."""
    return f"Policy violation: {decision.reason}", decision.advice


def evaluation_data(decision: Decision) -> dict[str, Any]:
    return {
        "policy_version": decision.policy_version,
        "outcome": str(decision.outcome),
        "failed_rules": [check.rule for check in decision.failures],
    }


def keep_evaluations(requests: Sequence[CertificateRequest], decisions: Sequence[Decision], *, now: datetime) -> None:
    insert_models(
        [
            new(
                PolicyEvaluation,
                request=request,
                policy_version=decision.policy_version,
                outcome=str(decision.outcome),
                checks=judged["checks"],
                suggestion=judged["suggestion"],
                evaluated_at=now,
            )
            for request, decision in zip(requests, decisions, strict=True)
            for judged in (decision.to_dict(),)
        ],
        ids=False,
    )


def approved_digests(requests: Sequence[CertificateRequest]) -> set[int]:
    """Ids of the requests that a person approved for exactly the content they have."""
    if not requests:
        return set()
    rows = Approval.objects.filter(request__in=[r.pk for r in requests], granted=True).values_list("request_id", "digest")
    granted = set(rows)
    return {request.pk for request in requests if (request.pk, request.digest) in granted}
