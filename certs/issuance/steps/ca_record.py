"""Beat 3 of step 4: what a CA answered is recorded, for those requests whose attempt is still ours.

A wrong certificate is kept apart, revoked, and stops the CA until that is done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from audit.events import EventType, recordable
from audit.log import Event, record_many
from certs.ca.base import Issued, NotSent, Pending, Refused, Unknown
from certs.enums import RequestState as S
from certs.errors import SignerMismatch
from certs.issuance.attempts import as_things_stand, close_attempts, keep_unclaimed
from certs.issuance.certificates import record_certificates, record_queries
from certs.issuance.steps.ca_call import Mismatch, Result, Work, own_ca_of
from certs.issuance.unwanted import owner_of, what_to_do
from certs.issuance.verify import Believed
from certs.models import Certificate, CertificateRequest, QuarantinedCertificate, UnclaimedResult
from certs.notifications.alerts import open_circuit
from certs.requests.outcomes import fail_many
from certs.requests.states import WORKER, note_reasons
from certs.x509.asn1.pem import serial_of


def record_answers(work: Work, results: dict[int, Result], *, complete: bool) -> dict[int, str]:
    """Beat 3: compare and set, for the requests whose claim held. Answers what to try again. Needs an open transaction."""
    wrong = {pk: result for pk, result in results.items() if isinstance(result, Mismatch)}
    # A look-up that found the certificate ordered, or got no reply, decides what becomes of the request.
    results = results | {pk: result.instead for pk, result in wrong.items() if result.instead is not None}
    chains, keys = record_queries([(work.requests[pk], result) for pk, result in results.items() if isinstance(result, Believed)])
    noted = [own_ca_of(work).standing(work.noted)] if work.noted is not None else []
    to_come = {"audit_event": (2 if complete else 1) * len(results), Certificate._meta.db_table: len(results)}
    standing = as_things_stand(
        work.attempts.values(), S.CSR_CREATED, chains, keys, *noted, requests=work.requests.values(), to_come=to_come
    )
    now, read = standing.now, standing.answers[:2]
    if noted:
        given_up = _given_up(work, results, {row[0] for row in standing.answers[2]})
        results, wrong = results | given_up, {pk: result for pk, result in wrong.items() if pk not in given_up}
    close_attempts(work.attempts.values(), {pk: _outcome(result) for pk, result in results.items()}, standing)
    counts = standing.mine
    late = [pk for pk in results if pk not in counts]
    brought = [(pk, results[pk]) for pk in late] + [(pk, wrong[pk]) for pk in late if pk in wrong and results[pk] is not wrong[pk]]
    keep_unclaimed([u for pk, result in brought for u in _unclaimed(work, pk, result, now)], actor=WORKER, now=now)
    mine = {pk: (work.requests[pk], result) for pk, result in results.items() if pk in counts}
    believed = [(request, r) for request, r in mine.values() if isinstance(r, Believed)]
    if work.noted is not None:
        signed = [Issued(request.public_id, r.der, ()) for request, r in mine.values() if isinstance(r, Believed | Mismatch)]
        own_ca_of(work).keep(signed, work.noted, now=now)
    record_certificates(believed, issuer=work.issuer, now=now, complete=complete, read=read)
    _quarantine(work, [(work.requests[pk], result) for pk, result in wrong.items() if pk in counts], now=now)
    fail_many(
        [(request, r.problem, f"{work.issuer.name} refused: {r.message}") for request, r in mine.values() if isinstance(r, Refused)],
        source=S.CSR_CREATED,
        now=now,
    )
    unavailable = {pk: r.message for pk, (_, r) in mine.items() if isinstance(r, NotSent | Unknown)}
    waits = {pk: f"{work.issuer.name} has not issued it: {message}. It is tried again." for pk, message in unavailable.items()}
    waits |= {pk: f"{work.issuer.name} works on it: {r.message}" for pk, (_, r) in mine.items() if isinstance(r, Pending)}
    note_reasons([request for request, _ in mine.values()], waits)
    return unavailable


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
    _stop_ca(work, wrong, now=now)
    fail_many(
        [(request, "signer_mismatch", str(SignerMismatch(list(result.reasons)))) for request, result in wrong if result.instead is None],
        source=S.CSR_CREATED,
        now=now,
    )


def _stop_ca(work: Work, wrong: Sequence[tuple[CertificateRequest, Mismatch]], *, now: datetime) -> None:
    """Open the CA's circuit. What belongs to somebody here is never revoked by itself, so then a person must let orders go on."""
    reason = "it answered with a certificate that was not ordered (signer_mismatch)"
    next_step = (
        "Requests wait at csr_created; nothing is lost. The quarantined certificate is in the admin; once it is revoked, orders go on."
    )
    for request, result in wrong:
        owner = owner_of(work.issuer, result.der, besides=request)
        if owner:
            reason = f"it answered {request.public_id} with a certificate that belongs to {owner}"
            next_step = what_to_do(f"{serial_of(result.der) or 0:x}", owner)
    open_circuit(work.issuer, reason, next_step=next_step, now=now)


def _in_short(wrong: Mismatch) -> list[str]:
    """As much of the reasons as one field of an event holds."""
    return [recordable(reason, most=80) for reason in wrong.reasons[:6]]
