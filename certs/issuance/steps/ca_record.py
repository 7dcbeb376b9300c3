"""Step 4, record: write the results of a CA, for the requests whose attempt is still ours.

A wrong certificate is quarantined and revoked, and the CA is stopped until that is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from audit.events import EventType, recordable
from audit.log import Event, UnitOfWork
from certs.ca.base import Issued, NotSent, Pending, Refused, Unknown
from certs.ca.registry import own_ca
from certs.enums import RequestState as S
from certs.errors import SignerMismatch, sentence
from certs.issuance.attempts import Recorded, claimed, close_attempts, keep_unclaimed
from certs.issuance.certificates import on_record, record_certificates
from certs.issuance.steps.ca_call import Answers, Mismatch, Orders, Result
from certs.issuance.unwanted import owner_of, what_to_do
from certs.issuance.verify import Verified
from certs.models import Attempt, CertificateRequest, Issuer, QuarantinedCertificate, UnclaimedResult
from certs.notifications.alerts import open_circuit
from certs.requests.states import WORKER, fail_many, note_reasons
from certs.x509.asn1.pem import serial_of
from db.reads import Read, read_together

NO_LEDGER: Read[Mapping[str, Any]] = Read([], lambda _: {}, dict)  # of a CA elsewhere


def record_answers(work: UnitOfWork, orders: Orders, answers: Answers) -> Recorded:
    """Move requests from csr_created to issued or failed, or let them wait with a reason: those are tried again.

    Effects: certificates with what belongs to them, the CA's ledger, quarantine, circuit and alert,
    states, attempts, unclaimed results, and the events of all that.
    """
    issuer, requests, attempts = orders.issuer, orders.requests, orders.attempts
    wrong = {pk: result for pk, result in answers.results.items() if isinstance(result, Mismatch)}
    # 1. A look-up that found the certificate ordered, or got no reply, decides what becomes of the request.
    results = {**answers.results, **{pk: result.instead for pk, result in wrong.items() if result.instead is not None}}

    # 2. Lock: the requests and the attempts, then the own CA's ledger. An order that was abandoned or
    #    revoked while it was being signed is on the CRL: it is tried again.
    own = own_ca(issuer.alias) if answers.prepared is not None else None
    came = [(requests[pk], result) for pk, result in results.items() if isinstance(result, Verified)]
    claim, ledger, known = read_together(
        claimed(attempts.values(), S.CSR_CREATED),
        own.ledger(answers.prepared) if own is not None and answers.prepared is not None else NO_LEDGER,
        on_record(came),
    )
    now = claim.now
    if own is not None:
        for pk, result in list(results.items()):
            if isinstance(result, Verified | Mismatch) and orders.orders[pk].order_ref not in ledger:
                results[pk] = Unknown(orders.orders[pk].order_ref, "the intent was abandoned while it was being signed")
                wrong.pop(pk, None)

    # 3. The attempts that are ours end here. An attempt that was taken over keeps the outcome `lost`, by which the next one looks
    #    the order up before it sends.
    close_attempts(work, attempts.values(), {pk: _outcome(result) for pk, result in results.items()}, claim)

    # 4. A certificate that comes too late is kept for the reaper, which adopts or revokes it; so is a
    #    wrong one beside it.
    late = [(pk, result) for pk, result in results.items() if pk not in claim.mine]
    late += [(pk, wrong[pk]) for pk, result in late if pk in wrong and result is not wrong[pk]]
    keep_unclaimed(work, [one for pk, result in late for one in _unclaimed(attempts[pk], result, now)], now=now)

    # 5. The certificates that are ours: in the CA's ledger, in the inventory, or in quarantine.
    mine = {pk: (requests[pk], result) for pk, result in results.items() if pk in claim.mine}
    if own is not None:
        signed = [Issued(r.public_id, result.der, ()) for r, result in mine.values() if isinstance(result, Verified | Mismatch)]
        own.record(work, signed, ledger, now=now)
    verified = [(request, result) for request, result in mine.values() if isinstance(result, Verified)]
    record_certificates(work, verified, known=known, issuer=issuer, now=now)
    _quarantine(work, issuer, [(requests[pk], result) for pk, result in wrong.items() if pk in claim.mine], now=now)

    # 6. A refusal is final; all else waits with its reason and is tried again. `Pending` is no fault, so it is not among what the
    #    caller retries: the sweeper looks the order up.
    refused = [(request, result) for request, result in mine.values() if isinstance(result, Refused)]
    failures = [(request, result.problem, f"{issuer.name} refused: {result.message}") for request, result in refused]
    fail_many(work, failures, source=S.CSR_CREATED, now=now)
    unavailable = {pk: result.message for pk, (_, result) in mine.items() if isinstance(result, NotSent | Unknown)}
    waits = [
        (requests[pk], f"{issuer.name} has not issued it: {sentence(message)} It is tried again.") for pk, message in unavailable.items()
    ]
    pending = [(request, result) for request, result in mine.values() if isinstance(result, Pending)]
    waits += [(request, f"{issuer.name} works on it: {sentence(result.message)}") for request, result in pending]
    note_reasons(work, waits)
    return Recorded(now, ready=[request for request, _ in verified], ca_unavailable=unavailable)


def _outcome(result: Result) -> tuple[str, str]:
    match result:
        case Verified():
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


def _unclaimed(attempt: Attempt, result: Result, now: datetime) -> list[UnclaimedResult]:
    if not isinstance(result, Verified | Mismatch):
        return []
    chain = result.chain_pem.encode() if isinstance(result, Verified) else b""
    return [UnclaimedResult(request=attempt.request, attempt=attempt, kind="certificate", payload=result.der, chain=chain, brought_at=now)]


def _quarantine(work: UnitOfWork, issuer: Issuer, wrong: Sequence[tuple[CertificateRequest, Mismatch]], *, now: datetime) -> None:
    """Keep wrong certificates apart, stop the CA, end the requests: nothing is sent again before they are revoked."""
    if not wrong:
        return
    work.insert(
        [
            QuarantinedCertificate(
                request=request,
                issuer=issuer,
                order_ref=request.public_id,
                der=result.der,
                serial_number=f"{serial_of(result.der) or 0:x}"[:64],
                reasons=list(result.reasons),
                received_at=now,
            )
            for request, result in wrong
        ]
    )
    work.record(
        # As much of the reasons as one field of an event holds.
        Event(
            EventType.CA_QUARANTINED,
            request.subject,
            WORKER,
            now,
            {"issuer": issuer.name, "reasons": [recordable(reason, most=80) for reason in result.reasons[:6]]},
        )
        for request, result in wrong
    )
    # The CA is stopped in the same transaction: no other worker sends an order to it before the wrong certificate is revoked.
    # A request whose own certificate was found beside the wrong one has gone on, and one whose look-up had no reply waits.
    _stop_ca(issuer, wrong, now=now)
    ended = [(request, result) for request, result in wrong if result.instead is None]
    fail_many(
        work,
        [(request, "signer_mismatch", str(SignerMismatch(list(result.reasons)))) for request, result in ended],
        source=S.CSR_CREATED,
        now=now,
    )


def _stop_ca(issuer: Issuer, wrong: Sequence[tuple[CertificateRequest, Mismatch]], *, now: datetime) -> None:
    """Open the CA's circuit. A certificate that belongs to somebody here is never revoked automatically, so a person must close it."""
    reason = "it answered with a certificate that was not ordered (signer_mismatch)"
    next_step = (
        "Requests wait to be signed; nothing is lost. The quarantined certificate is in the admin; once it is revoked, orders go on."
    )
    for request, result in wrong:
        owner = owner_of(issuer, result.der, besides=request)
        if owner:
            reason = f"it answered {request.public_id} with a certificate that belongs to {owner}"
            next_step = what_to_do(f"{serial_of(result.der) or 0:x}", owner)
    open_circuit(issuer, reason, next_step=next_step, now=now)
