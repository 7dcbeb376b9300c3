"""Step 4: have the CA sign. Here are its first beat, which notes what is about to be ordered, and the order of the three; `asking_ca`
has the second and `ca_answers` the third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from audit.events import EventType
from audit.log import Event, one_transaction, record_many
from certs.ca.order import order_for
from certs.ca.registry import own_ca
from certs.enums import RequestState as S
from certs.fault_points import pause
from certs.issuance.attempts import Claims, open_attempts
from certs.issuance.slots import reason, without_place
from certs.issuance.steps.ca_call import Work, ask_ca, ended_unasked
from certs.issuance.steps.ca_record import record_answers
from certs.issuance.steps.policy import approved_digests, keep_evaluations, refusal
from certs.models import CertificateRequest, Issuer, RequestCSR
from certs.models.rows import locked
from certs.requests.approvals.requesters import ASK_A_MEMBER, requesters_who_left
from certs.requests.facts.policy_facts import asked_by, evaluate_many
from certs.requests.lineage import lock_renewed, stopped_lineages
from certs.requests.outcomes import ASK_AGAIN, KEY_BLOCKED, reject_many, worn_out
from certs.requests.states import WORKER, lock_ready, note_reasons
from db.clock import database_now
from keys.lifecycle import blocked_keys
from policy.engine import Decision
from policy.engine import Outcome as PolicyOutcome

STEP = "submit"


class Unavailable(Exception):
    """The CA did not take some of a batch. They stand at csr_created, nothing of theirs is lost, and they may be tried again."""

    def __init__(self, ids: Sequence[int], message: str) -> None:
        super().__init__(message)
        self.ids = list(ids)
        self.message = message


def submit_to_ca(ids: Sequence[int], *, complete: bool = False) -> Sequence[int]:
    """csr_created -> issued (with `complete` on to completed) | failed | rejected. Raises Unavailable for those whose CA cannot be
    reached now.
    """
    if not ids:  # the first task of a bulk chunk has finished them
        return ids
    unavailable: dict[int, str] = {}
    for work in _note_intents(ids):
        unavailable |= carry_out(work, complete=complete)
    if unavailable:
        raise Unavailable(list(unavailable), next(iter(unavailable.values())))
    return ids


def carry_out(work: Work, *, complete: bool = False) -> dict[int, str]:
    """Beats 2 and 3; answers what to try again. `complete`: nobody waits for step 5, so it shares the transaction of beat 3."""
    pause(STEP, "intent noted")
    own = own_ca(work.issuer.alias) if ended_unasked(work.issuer, work.orders.values()) is None else None
    if own is not None and work.noted is None:
        work = replace(work, noted=own.note_alone(list(work.orders.values())))
    results = ask_ca(work)
    pause(STEP, "ca answered")
    with one_transaction():
        unavailable = record_answers(work, results, complete=complete)
    pause(STEP, "answer recorded")
    return unavailable


@transaction.atomic
def _note_intents(ids: Sequence[int]) -> list[Work]:
    """Beat 1 for the requests that are ready."""
    now = database_now()
    ready = lock_ready(ids, S.CSR_CREATED)
    full = without_place({request.issuer for request in ready}, now=now)
    waiting = [request for request in ready if request.issuer_id in full]
    note_reasons(waiting, {request.pk: reason(request.issuer) for request in waiting})
    return note_intents([request for request in ready if request.issuer_id not in full], now=now)


def note_intents(
    requests: Sequence[CertificateRequest], *, now: datetime, judged: Mapping[int, Decision] | None = None, at_once: bool = False
) -> list[Work]:
    """Policy once more under the version in force now, then an attempt for each order that may go out. The rows are locked.

    `judged`: decisions on requests made in this very transaction; they need not be made twice, and nobody can have tried before.
    `at_once`: the own CA's note shares this transaction, for a caller who waits. Else it follows when the attempts are on record,
    so that an order which kills its worker there is found out.
    """
    allowed = _still_allowed(requests, judged, now=now)
    if not allowed:
        return []
    requests, longest = [request for request, _ in allowed], {request.pk: decision.longest_days for request, decision in allowed}
    claims = open_attempts(requests, STEP, now=now, fresh=judged is not None)
    worn_out(claims.worn_out, source=S.CSR_CREATED, now=now)
    mine = [request for request in requests if request.pk in claims.mine]
    csrs = _csrs(mine)
    issuers = _issuers_of(mine, locked_already=judged is not None)
    record_many(
        [
            Event(EventType.CA_SUBMITTED, r.subject, WORKER, now, {"issuer": r.issuer.name, "attempt": claims.mine[r.pk].number})
            for r in mine
        ]
    )
    return [
        _work(issuer, [r for r in mine if r.issuer_id == pk], csrs, claims, longest, now=now, at_once=at_once)
        for pk, issuer in issuers.items()
    ]


def _issuers_of(requests: Sequence[CertificateRequest], *, locked_already: bool) -> dict[int, Issuer]:
    """As they are now, and will be until the open transaction ends."""
    if locked_already:  # when the requests were made in it
        return {request.issuer_id: request.issuer for request in requests}
    return {issuer.pk: issuer for issuer in locked(Issuer, sorted({request.issuer_id for request in requests}), share=True)}


def _csrs(requests: Sequence[CertificateRequest]) -> dict[int, RequestCSR]:
    """Their CSRs, those from memory where they were just written."""
    cached = CertificateRequest._meta.get_field("csr").is_cached
    known = {request.pk: request.csr for request in requests if cached(request)}
    missing = [request.pk for request in requests if request.pk not in known]
    return known | (RequestCSR.objects.in_bulk(missing) if missing else {})


def _work(
    issuer: Issuer,
    requests: Sequence[CertificateRequest],
    csrs: Mapping[int, RequestCSR],
    claims: Claims,
    longest: Mapping[int, int | None],
    *,
    now: datetime,
    at_once: bool,
) -> Work:
    # What an earlier attempt may have had signed is as old as that attempt, so the order keeps the time of the first.
    orders = {
        request.pk: order_for(request, csrs[request.pk], now=claims.since.get(request.pk, now), longest_days=longest[request.pk])
        for request in requests
    }
    own = own_ca(issuer.alias) if at_once and ended_unasked(issuer, orders.values()) is None else None
    return Work(
        issuer=issuer,
        requests={request.pk: request for request in requests},
        orders=orders,
        look_up=frozenset(r.pk for r in requests if any(outcome != "not_sent" for outcome in claims.earlier.get(r.pk, ()))),
        attempts={request.pk: claims.mine[request.pk] for request in requests},
        noted_at=now,
        noted=own.note(list(orders.values()), now=now, issuer=issuer, fresh=True) if own else None,
    )


def _still_allowed(
    requests: Sequence[CertificateRequest], judged: Mapping[int, Decision] | None, *, now: datetime
) -> list[tuple[CertificateRequest, Decision]]:
    """Those that the policy in force now allows and whose key is not blocked; the others end here, naming both versions."""
    if not requests:
        return []
    if judged is None:
        blocked = blocked_keys({request.spki_sha256 for request in requests})
        _, decisions = evaluate_many([asked_by(request) for request in requests], at=now)
    else:  # the keys were recorded, and so locked, in this transaction
        blocked, decisions = set(), [judged[request.pk] for request in requests]
    stopped = stopped_lineages(lock_renewed(requests))
    # A request made in this very transaction is from a member. A line of an order was submitted before, perhaps long ago.
    left = requesters_who_left([request for request in requests if judged is None or request.bulk_item_id is not None])
    approved = approved_digests([r for r, d in zip(requests, decisions, strict=True) if d.outcome is PolicyOutcome.NEEDS_APPROVAL])
    allowed, rejections, changed = [], [], []
    for request, decision in zip(requests, decisions, strict=True):
        before, request.policy_version = request.policy_version, decision.policy_version
        fine = decision.outcome is PolicyOutcome.ALLOW or request.pk in approved
        if before != decision.policy_version or not fine:
            changed.append((request, decision))
        if request.spki_sha256 in blocked:
            rejections.append((request, "key_compromised", KEY_BLOCKED, ASK_AGAIN))
        elif request.pk in left:
            rejections.append((request, "requester_left", left[request.pk], ASK_A_MEMBER))
        elif request.pk in stopped:
            message = f"The certificate to be renewed was revoked ({stopped[request.pk]}), so nothing follows it"
            rejections.append((request, "lineage_revoked", message, "Ask for a new certificate if one is needed."))
        elif fine:
            allowed.append((request, decision))
        else:
            message, suggestion = refusal(decision)
            if decision.outcome is PolicyOutcome.NEEDS_APPROVAL:
                message, suggestion = (
                    "The policy now asks for an approval that this request does not have",
                    "Submit it again; it will wait for approval.",
                )
            rejections.append(
                (request, "policy", f"{message} (accepted under {before}, refused under {decision.policy_version})", suggestion)
            )
    keep_evaluations([r for r, _ in changed], [d for _, d in changed], now=now)
    reject_many(rejections, source=S.CSR_CREATED, now=now)
    return allowed
