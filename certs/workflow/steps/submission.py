"""Step 4: have the CA sign, and believe its answer only after it was verified.

What went wrong decides what may happen next (PROTOCOLS 2): an order that was certainly not sent may be sent again; one
whose fate is unknown is looked up first; a wrong certificate is kept apart, revoked, and stops the CA until that is done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from audit.clock import database_now
from audit.events import EventType, recordable
from audit.log import Event, one_transaction, record_many
from certs.ca.base import BookkeepingCA, CAClient, CAUnreachable, Issued, Noted, NotSent, Order, Outcome, Pending, Refused, Unknown
from certs.ca.registry import get_ca_client, own_ca
from certs.errors import SignerMismatch
from certs.models import Attempt, Certificate, CertificateRequest, Issuer, QuarantinedCertificate, RequestCSR, UnclaimedResult
from certs.models.batch import locked
from certs.notifications.alerts import open_circuit
from certs.terms import RequestState as S
from certs.workflow.attempts import Claims, Lease, as_things_stand, close_attempts, keep_unclaimed, open_attempts
from certs.workflow.beats import pause
from certs.workflow.believing import Believed, believe
from certs.workflow.certificates import record_certificates, record_queries
from certs.workflow.endings import ASK_AGAIN, KEY_BLOCKED, fail_many, reject_many, worn_out
from certs.workflow.facts import asked_by, evaluate_many
from certs.workflow.orders import order_for
from certs.workflow.states import WORKER, lock_ready
from certs.workflow.steps.policy import approved_digests, keep_evaluations, refusal
from certs.workflow.succession import stopped_lineages
from certs.x509.pem import serial_of
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


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A certificate that is not the one ordered."""

    der: bytes
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """What beat 1 hands to beat 2: a CA's orders by request id, and which of them must be looked up before they are sent."""

    issuer: Issuer
    requests: Mapping[int, CertificateRequest]
    orders: Mapping[int, Order]
    look_up: frozenset[int]
    attempts: Mapping[int, Attempt]
    noted_at: datetime
    noted: Noted | None  # where the CA's own book was written in the same transaction


Result = Believed | Mismatch | Pending | Refused | NotSent | Unknown


def submit_to_ca(ids: Sequence[int], *, complete: bool = False) -> Sequence[int]:
    """csr_created -> issued (with `complete` on to completed) | failed | rejected. Raises Unavailable for those whose CA cannot be
    reached now.
    """
    unavailable: dict[int, str] = {}
    for work in _note_intents(ids):
        unavailable |= carry_out(work, complete=complete)
    if unavailable:
        raise Unavailable(list(unavailable), next(iter(unavailable.values())))
    return ids


def carry_out(work: Work, *, complete: bool = False) -> dict[int, str]:
    """Beats 2 and 3; answers what to try again. `complete`: nobody waits for step 5, so it shares the transaction of beat 3."""
    pause(STEP, "intent noted")
    own = own_ca(work.issuer.alias) if _stopped(work.issuer, work.orders.values()) is None else None
    if own is not None and work.noted is None:
        work = replace(work, noted=own.note_alone(list(work.orders.values())))
    results = _ask(work)
    pause(STEP, "ca answered")
    with one_transaction():
        unavailable = _record(work, results, complete=complete)
    pause(STEP, "answer recorded")
    return unavailable


@transaction.atomic
def _note_intents(ids: Sequence[int]) -> list[Work]:
    """Beat 1 for the requests that are ready."""
    now = database_now()
    return note_intents(lock_ready(ids, S.CSR_CREATED), now=now)


def note_intents(
    requests: Sequence[CertificateRequest], *, now: datetime, judged: Mapping[int, Decision] | None = None, at_once: bool = False
) -> list[Work]:
    """Policy once more under the version in force now, then an attempt for each order that may go out. The rows are locked.

    `judged`: decisions on requests made in this very transaction; they need not be made twice, and nobody can have tried before.
    `at_once`: the own CA's note shares this transaction, for a caller who waits. Else it follows when the attempts are on record,
    so that an order which kills its worker there is found out.
    """
    requests = _still_allowed(requests, judged, now=now)
    if not requests:
        return []
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
    return [_work(issuer, [r for r in mine if r.issuer_id == pk], csrs, claims, now=now, at_once=at_once) for pk, issuer in issuers.items()]


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
    *,
    now: datetime,
    at_once: bool,
) -> Work:
    # What an earlier attempt may have had signed is as old as that attempt, so the order keeps the time of the first.
    orders = {request.pk: order_for(request, csrs[request.pk], now=claims.since.get(request.pk, now)) for request in requests}
    own = own_ca(issuer.alias) if at_once and _stopped(issuer, orders.values()) is None else None
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
) -> list[CertificateRequest]:
    """Those that the policy in force now allows and whose key is not blocked; the others end here, naming both versions."""
    if not requests:
        return []
    if judged is None:
        blocked = blocked_keys({request.spki_sha256 for request in requests})
        _, decisions = evaluate_many([asked_by(request) for request in requests], at=now)
    else:  # the keys were recorded, and so locked, in this transaction
        blocked, decisions = set(), [judged[request.pk] for request in requests]
    stopped = stopped_lineages(requests)
    approved = approved_digests([r for r, d in zip(requests, decisions, strict=True) if d.outcome is PolicyOutcome.NEEDS_APPROVAL])
    allowed, rejections, changed = [], [], []
    for request, decision in zip(requests, decisions, strict=True):
        before, request.policy_version = request.policy_version, decision.policy_version
        fine = decision.outcome is PolicyOutcome.ALLOW or request.pk in approved
        if before != decision.policy_version or not fine:
            changed.append((request, decision))
        if request.spki_sha256 in blocked:
            rejections.append((request, "key_compromised", KEY_BLOCKED, ASK_AGAIN))
        elif request.pk in stopped:
            message = f"The certificate to be renewed was revoked ({stopped[request.pk]}), so nothing follows it"
            rejections.append((request, "lineage_revoked", message, "Ask for a new certificate if one is needed."))
        elif fine:
            allowed.append(request)
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


def _ask(work: Work) -> dict[int, Result]:
    """Beat 2: look up what may already be signed, send the rest, verify what comes back."""
    stopped = _stopped(work.issuer, work.orders.values())
    if stopped is not None:
        return dict(zip(work.orders, stopped, strict=True))
    if work.noted is not None:
        outcomes = dict(zip(work.orders, _own_ca(work).sign(work.noted), strict=True))
        return {pk: _verified(work, pk, outcome, work.noted_at) for pk, outcome in outcomes.items()}
    outcomes = _asked(get_ca_client(work.issuer.alias), work)
    now = database_now()
    return {pk: _verified(work, pk, outcome, now) for pk, outcome in outcomes.items()}


def _stopped(issuer: Issuer, orders: Iterable[Order]) -> list[NotSent | Refused] | None:
    """How orders end at a CA that is not asked at all."""
    if issuer.circuit_opened_at is not None:
        return [NotSent(order.order_ref, f"{issuer.name} is stopped: {issuer.circuit_reason}") for order in orders]
    if issuer.state != Issuer.State.ACTIVE:
        message = f"{issuer.name} does not issue any more ({issuer.get_state_display()})."
        return [Refused(order.order_ref, "issuer_inactive", message) for order in orders]
    return None


def _own_ca(work: Work) -> BookkeepingCA:
    own = own_ca(work.issuer.alias)
    assert own is not None  # only such a one has noted anything
    return own


def _asked(client: CAClient, work: Work) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    for pk in work.look_up:
        found = _look_up(client, work.orders[pk])
        if found is not None:
            outcomes[pk] = found
    return outcomes | _sent(client, work, [pk for pk in work.orders if pk not in outcomes])


def _sent(client: CAClient, work: Work, unsent: Sequence[int]) -> dict[int, Outcome]:
    """Send orders part by part. A CA that takes none of a part is not sent the next ones: it is away for all of them."""
    outcomes: dict[int, Outcome] = {}
    away: NotSent | None = None
    lease = Lease(work.attempts.values())
    for first in range(0, len(unsent), client.capabilities.batch_size):
        part = unsent[first : first + client.capabilities.batch_size]
        if away is not None:
            outcomes |= {pk: NotSent(work.orders[pk].order_ref, away.message, away.retry_after) for pk in part}
            continue
        lease.renew()
        answers = client.issue_many([work.orders[pk] for pk in part])
        outcomes |= dict(zip(part, answers, strict=True))
        refusals = [answer for answer in answers if isinstance(answer, NotSent)]
        away = refusals[0] if len(refusals) == len(answers) else None
    return outcomes


def _look_up(client: CAClient, order: Order) -> Outcome | None:
    """What became of an order that may have reached the CA. An unanswered look-up leaves its fate unknown: it is not sent again."""
    try:
        return client.find(order)
    except CAUnreachable as exc:
        return Unknown(order.order_ref, f"could not ask whether it was signed: {exc}")


def _verified(work: Work, pk: int, outcome: Outcome, now: datetime) -> Result:
    if not isinstance(outcome, Issued):
        return outcome
    try:
        return believe(outcome, work.orders[pk], work.issuer, now=now)
    except SignerMismatch as exc:
        # They quote the certificate, which may say anything, at any length.
        return Mismatch(outcome.certificate_der, tuple(recordable(reason) for reason in exc.reasons))


def _record(work: Work, results: dict[int, Result], *, complete: bool) -> dict[int, str]:
    """Beat 3: compare and set, for the requests whose claim held. Answers what to try again. Needs an open transaction."""
    chains, keys = record_queries([(work.requests[pk], result) for pk, result in results.items() if isinstance(result, Believed)])
    noted = [_own_ca(work).standing(work.noted)] if work.noted is not None else []
    to_come = {"audit_event": (2 if complete else 1) * len(results), Certificate._meta.db_table: len(results)}
    standing = as_things_stand(
        work.attempts.values(), S.CSR_CREATED, chains, keys, *noted, requests=work.requests.values(), to_come=to_come
    )
    now, read = standing.now, standing.answers[:2]
    if noted:
        results = results | _given_up(work, results, {row[0] for row in standing.answers[2]})
    close_attempts(work.attempts.values(), {pk: _outcome(result) for pk, result in results.items()}, standing)
    counts = standing.mine
    late = [pk for pk in results if pk not in counts]
    keep_unclaimed([u for pk in late for u in _unclaimed(work, pk, results[pk], now)], actor=WORKER, now=now)
    mine = {pk: (work.requests[pk], result) for pk, result in results.items() if pk in counts}
    believed = [(request, r) for request, r in mine.values() if isinstance(r, Believed)]
    if work.noted is not None:
        signed = [Issued(request.public_id, r.der, ()) for request, r in mine.values() if isinstance(r, Believed | Mismatch)]
        _own_ca(work).keep(signed, work.noted, now=now)
    record_certificates(believed, issuer=work.issuer, now=now, complete=complete, read=read)
    _quarantine(work, [(request, r) for request, r in mine.values() if isinstance(r, Mismatch)], now=now)
    fail_many(
        [(request, r.problem, f"{work.issuer.name} refused: {r.message}") for request, r in mine.values() if isinstance(r, Refused)],
        source=S.CSR_CREATED,
        now=now,
    )
    return {pk: r.message for pk, (_, r) in mine.items() if isinstance(r, NotSent | Unknown)}


def _given_up(work: Work, results: Mapping[int, Result], standing: Collection[str]) -> dict[int, Result]:
    """A certificate whose note in the own CA's book was given up while it was being signed is on the CRL already: try again."""
    return {
        pk: Unknown(work.orders[pk].order_ref, "the intent was abandoned while it was being signed")
        for pk, result in results.items()
        if isinstance(result, Believed | Mismatch) and work.orders[pk].order_ref not in standing
    }


def _outcome(result: Result) -> tuple[str, str]:
    match result:
        case Believed():
            return ("done", "")
        case Mismatch():
            return ("mismatch", "; ".join(result.reasons))
        case Pending():
            return ("pending", result.message)
        case Refused():
            return ("refused", result.message)
        case NotSent():
            return ("not_sent", result.message)
        case Unknown():
            return ("unknown", result.message)


def _unclaimed(work: Work, pk: int, result: Result, now: datetime) -> list[UnclaimedResult]:
    attempt = work.attempts[pk]
    match result:
        case Believed():
            return [
                UnclaimedResult(
                    request=attempt.request,
                    attempt=attempt,
                    kind="certificate",
                    payload=result.der,
                    chain=result.chain_pem.encode(),
                    brought_at=now,
                )
            ]
        case Mismatch():
            return [UnclaimedResult(request=attempt.request, attempt=attempt, kind="certificate", payload=result.der, brought_at=now)]
        case _:
            return []


def _quarantine(work: Work, wrong: Sequence[tuple[CertificateRequest, Mismatch]], *, now: datetime) -> None:
    """Keep wrong certificates apart, stop the CA, end the requests: nothing is sent again before they are revoked."""
    if not wrong:
        return
    QuarantinedCertificate.objects.bulk_create(
        [
            QuarantinedCertificate(
                request=request,
                issuer=work.issuer,
                order_ref=request.public_id,
                der=result.der,
                serial_number=f"{serial_of(result.der) or 0:x}"[:64],
                reasons=list(result.reasons),
                received_at=now,
            )
            for request, result in wrong
        ]
    )
    record_many(
        [
            Event(EventType.CA_QUARANTINED, request.subject, WORKER, now, {"issuer": work.issuer.name, "reasons": _in_short(result)})
            for request, result in wrong
        ]
    )
    open_circuit(work.issuer, "it answered with a certificate that was not ordered (signer_mismatch)", now=now)
    fail_many(
        [(request, "signer_mismatch", str(SignerMismatch(list(result.reasons)))) for request, result in wrong],
        source=S.CSR_CREATED,
        now=now,
    )


def _in_short(wrong: Mismatch) -> list[str]:
    """As much of the reasons as one field of an event holds."""
    return [recordable(reason, most=80) for reason in wrong.reasons[:6]]
