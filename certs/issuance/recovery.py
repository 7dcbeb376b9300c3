"""The sweeper: finds requests that have stalled and starts them again. The database is the truth, the queue only a hint.

Runs every few seconds from beat; each part is safe to run twice at once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from audit.events import EventType, recordable
from audit.log import Event, UnitOfWork, record_many
from certs.ca.base import CAUnreachable, Issued, Order, Pending
from certs.enums import AlertKind, RevocationReason
from certs.enums import RequestState as S
from certs.errors import SignerMismatch
from certs.issuance.steps.ca_call import order_for
from certs.issuance.unwanted import BelongsHere, alert_kept, revoke_unwanted, what_to_do
from certs.issuance.verify import verify_result
from certs.models import (
    Attempt,
    Certificate,
    CertificateRequest,
    Issuer,
    OperatorAlert,
    QuarantinedCertificate,
    UnclaimedResult,
)
from certs.notifications.alerts import (
    ca_cause,
    close_alerts,
    close_circuit,
    may_try,
    open_alert,
    open_circuit,
    quarantine_cause,
    raise_alert,
)
from certs.pipeline import STEP_TASKS, queue_of, room_in, start
from certs.requests.states import UNFINISHED, WORKER
from certs.requests.turn import Turn, each_due, run_parts
from certs.requests.waiting import release, release_held
from certs.requests.waiting_reasons import waits_for_worker
from certs.x509.asn1.pem import tbs_of
from db.clock import database_now
from keys.registry import is_answering

log = logging.getLogger(__name__)

CHUNK = 100
RELEASE_FIRST, RELEASE_THEN = 200, 5000  # at once: to see whether it works again, and when it has shown that it does
REVOCATION_TRIES_BEFORE_ALARM = 5


def restart_stalled() -> int:
    """Start the chain again for requests without a live attempt that are not held and have not changed for a while.

    At most as many as the queue has room for: messages that wait there for a missing worker are not sent
    again. Returns the number of requests.
    """
    # A live attempt, or one that was closed a moment ago: its worker is about to go on, or to retry after a pause.
    now = database_now()
    quiet_since = now - timedelta(seconds=settings.PKI_SWEEP_AFTER_SECONDS)
    lively = Q(closed_at__isnull=True, lease_until__gt=now) | Q(closed_at__gt=quiet_since)
    live = Attempt.objects.filter(lively, request=OuterRef("pk"))
    count = 0
    for state in UNFINISHED:
        stalled = list(
            CertificateRequest.objects.filter(~Exists(live), state=state, held_since__isnull=True, state_changed_at__lt=quiet_since)
            # Those that have lost no worker first: a few requests that kill workers must not keep the others waiting.
            .order_by("losses", "state_changed_at")
            .values_list("pk", "losses", "bulk_item")[: CHUNK * settings.PKI_SWEEP_QUEUE_MOST]
        )
        for (losses, bulk), rows in groupby(sorted(stalled, key=_lane), key=_lane):
            ids, size = [pk for pk, _, _ in rows], chunk_size(losses)
            queue = queue_of(STEP_TASKS[state], bulk=bulk)
            room = room_in(queue)
            _note(ids, state, f"{waits_for_worker([queue])}, since more than {settings.PKI_SWEEP_AFTER_SECONDS} s.")
            for first in range(0, len(ids), size)[:room]:
                chunk = ids[first : first + size]
                start(chunk, at=state, bulk=bulk)
                count += len(chunk)
    return count


@transaction.atomic
def _note(ids: Sequence[int], state: S, why: str) -> None:
    """Give those that wait without a reason one. A request that a worker has taken up since keeps what it has.

    Rows that are locked are being worked on: to wait for one while others are locked here can be a deadlock.
    """
    waiting = CertificateRequest.objects.filter(pk__in=ids, state=state, error="", held_since__isnull=True)
    free = list(waiting.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True))
    CertificateRequest.objects.filter(pk__in=free).update(error=why)


def _lane(row: tuple[int, int, int | None]) -> tuple[int, bool]:
    """Return what requests of one chain share: how many workers they have lost, and whether they are lines of bulk orders."""
    return row[1], row[2] is not None


def chunk_size(losses: int) -> int:
    """Halve a chunk that was lost twice, and again with each further loss, so that the request that kills workers is soon alone."""
    return max(1, CHUNK >> max(0, losses - 1))


def release_for_answering_cas(turn: Turn | None = None) -> int:
    """Resume what was held for a CA, for each CA that works again: some, and all when it has issued again. Needs the CA role."""
    turn = turn or Turn()
    released = 0
    # Not for a CA whose circuit is open: nothing is sent there before its wrong certificate is revoked.
    held = CertificateRequest.objects.filter(held_since__isnull=False, state=S.CSR_CREATED)
    waiting = Issuer.objects.filter(pk__in=held.values("issuer"), circuit_opened_at__isnull=True)
    for issuer in waiting.filter(pk__in=turn.issuers).order_by("pk"):
        if turn.is_over():
            break
        client = turn.client(issuer)
        if client is None:
            continue
        if not client.is_working():
            turn.leave_out(issuer)
            continue
        certificates = Certificate.objects.filter(issuer=issuer)
        limit = _how_many(held.filter(issuer=issuer), certificates, AlertKind.CA_UNAVAILABLE, ca_cause(issuer))
        released += release_held(states=[S.CSR_CREATED], issuer=issuer, limit=limit)
    _close_alerts_of_working_cas(turn)
    return released


def _close_alerts_of_working_cas(turn: Turn) -> None:
    """Close the alert of each CA that has issued since a request was last held for it.

    A health page is no proof (it may be fine while orders fail), unless no request waits for the CA.
    """
    ordering = CertificateRequest.objects.filter(state=S.CSR_CREATED)
    for issuer in Issuer.objects.filter(pk__in=turn.issuers).order_by("pk"):
        alert = open_alert(AlertKind.CA_UNAVAILABLE, ca_cause(issuer))
        if alert is None or turn.is_over():
            continue
        newest = Certificate.objects.filter(issuer=issuer).order_by("-pk").values_list("issued_at", flat=True).first()
        works = newest is not None and newest > alert.last_seen_at
        if not works and not ordering.filter(issuer=issuer).exists():
            client = turn.client(issuer)
            works = client is not None and client.is_working()
        if works:
            close_alerts(kind=AlertKind.CA_UNAVAILABLE, cause=ca_cause(issuer), now=database_now())


def release_for_answering_keys() -> int:
    """Resume what was held for a key backend, for each that works again. Needs the keys role."""
    held = _held_for_keys().order_by("key_backend").values_list("key_backend", flat=True).distinct()
    alerts = OperatorAlert.objects.filter(kind=AlertKind.KEYS_UNAVAILABLE, closed_at=None)
    backends = sorted({*held, *(cause.partition(":")[2] for cause in alerts.values_list("cause", flat=True))})
    parts = [(f"keys:{backend}", partial(_release_for_backend, backend)) for backend in backends]
    return sum(count for count in run_parts(parts, Turn([])).values() if isinstance(count, int))


def _held_for_keys() -> QuerySet[CertificateRequest]:
    return CertificateRequest.objects.filter(held_since__isnull=False, state__in=(S.APPROVED, S.KEY_READY))


def _release_for_backend(backend: str, _turn: Turn) -> int:
    if not is_answering(backend):
        return 0
    held, cause = _held_for_keys().filter(key_backend=backend), f"keys:{backend}"
    limit = _how_many(held, Certificate.objects.filter(request__key_backend=backend), AlertKind.KEYS_UNAVAILABLE, cause)
    released = release_held(states=[S.APPROVED, S.KEY_READY], backend=backend, limit=limit)
    alert = open_alert(AlertKind.KEYS_UNAVAILABLE, cause)
    if alert is not None and _has_used_keys(backend, since=alert.last_seen_at):
        close_alerts(kind=AlertKind.KEYS_UNAVAILABLE, cause=cause, now=database_now())
    return released


def _has_used_keys(backend: str, *, since: datetime) -> bool:
    """Return whether a CSR was signed with the backend's keys since then, or no request needs the backend."""
    requests = CertificateRequest.objects.filter(key_backend=backend)
    signed = requests.filter(state=S.CSR_CREATED, state_changed_at__gt=since)
    issued = Certificate.objects.filter(request__key_backend=backend).order_by("-pk").values_list("issued_at", flat=True)
    newest = issued.first()
    if signed.exists() or (newest is not None and newest > since):
        return True
    return not requests.filter(state__in=(S.APPROVED, S.KEY_READY)).exists()


def _how_many(held: QuerySet[CertificateRequest], certificates: QuerySet[Certificate], kind: AlertKind, cause: str) -> int:
    """Return how many held requests go on now.

    A probe does not prove that orders succeed. A certificate made since the last request was held
    does, and then all of them go on at once. Without that proof some are tried, and after each trial
    that failed fewer and later, because every trial writes events for each of its requests.
    """
    last_held = held.order_by("-held_since").values_list("held_since", flat=True).first()
    newest = certificates.order_by("-pk").values_list("issued_at", flat=True).first()
    if newest and last_held and newest > last_held:
        return RELEASE_THEN
    trials = may_try(kind, cause, now=database_now())
    if trials is None:
        return 0
    return RELEASE_FIRST if trials == 0 else 1


def revoke_quarantined(turn: Turn | None = None) -> int:
    """Revoke wrong certificates at their CA; when none is left, the CA's circuit closes and orders go on."""
    turn = turn or Turn()
    unsettled = QuarantinedCertificate.objects.filter(revoked_at__isnull=True).select_related("issuer", "request")
    done = each_due(unsettled, turn, _revoke_at_ca, issuer_of=lambda wrong: wrong.issuer, issuer_path="issuer")
    # The circuit of every CA, also of those that this turn has not served: a person may have settled the last wrong certificate.
    for issuer in Issuer.objects.filter(circuit_opened_at__isnull=False).order_by("pk"):
        with transaction.atomic():
            close_circuit(issuer, now=database_now())
    return done


def _revoke_at_ca(wrong: QuarantinedCertificate, turn: Turn) -> bool:
    client = turn.client(wrong.issuer)
    if client is None:
        return False
    try:
        reason = RevocationReason.CESSATION_OF_OPERATION
        note = revoke_unwanted(client, wrong.issuer, bytes(wrong.der), reason, request=wrong.request)
    except BelongsHere as exc:
        _wait_for_a_person(wrong, exc.owner)
        return False
    except CAUnreachable as exc:
        turn.not_served(wrong.issuer, exc)
        _count_failed_revocation(wrong, str(exc))
        return False
    return _settle_quarantined(wrong, note=note)


@transaction.atomic
def _wait_for_a_person(wrong: QuarantinedCertificate, owner: str) -> None:
    """Note whose certificate it is. The row stays unsettled, so the circuit stays open until a person has settled it."""
    now = database_now()
    note = f"belongs to {owner}: not revoked, a person decides"
    if QuarantinedCertificate.objects.filter(pk=wrong.pk).exclude(revocation_error=note).update(revocation_error=note):
        reason = f"it answered with a certificate that belongs to {owner}"
        open_circuit(wrong.issuer, reason, next_step=what_to_do(wrong.serial_number, owner), now=now)


@transaction.atomic
def _settle_quarantined(wrong: QuarantinedCertificate, *, note: str) -> bool:
    now = database_now()
    settled = QuarantinedCertificate.objects.filter(pk=wrong.pk, revoked_at__isnull=True).update(
        revoked_at=now, revocation_error="" if note == "revoked" else note
    )
    if settled:
        data: dict[str, str | bool] = {"quarantined": True, "issuer": wrong.issuer.name, "note": note}
        record_many([Event(EventType.CERTIFICATE_REVOKED, wrong.request.subject, WORKER, now, data)])
        close_alerts(kind=AlertKind.QUARANTINE_NOT_REVOKED, cause=quarantine_cause(wrong.pk), now=now)
    return bool(settled)


@transaction.atomic
def _count_failed_revocation(wrong: QuarantinedCertificate, error: str) -> None:
    # Equal, not greater: one alert, which stays open until the certificate is revoked.
    tries = wrong.revocation_tries + 1
    QuarantinedCertificate.objects.filter(pk=wrong.pk).update(revocation_tries=tries, revocation_error=error[:500])
    if tries == REVOCATION_TRIES_BEFORE_ALARM:
        raise_alert(
            kind=AlertKind.QUARANTINE_NOT_REVOKED,
            cause=quarantine_cause(wrong.pk),
            message=f"A wrong certificate from {wrong.issuer.name} could not be revoked {tries} times: {error}",
            next_step=(
                "Revoke it by hand at the CA, then `manage.py reconcile_ca --settle "
                f"{wrong.serial_number} --because ...`. The portal keeps trying and sends nothing to this CA in the meantime."
            ),
            now=database_now(),
        )


def settle_unclaimed(turn: Turn | None = None) -> int:
    """Settle the results of attempts that lost: a certificate that is not the recorded one is revoked. Returns how many were settled."""
    turn = turn or Turn()
    # Of a request that is still under way the next attempt's look-up will find this very certificate.
    under_way = Q(kind="certificate", request__certificate__isnull=True, request__state__in=UNFINISHED)
    rows = UnclaimedResult.objects.filter(settled_at__isnull=True).exclude(under_way).select_related("request__issuer")
    return each_due(rows, turn, _settle, issuer_of=lambda result: result.request.issuer, issuer_path="request__issuer")


def _settle(result: UnclaimedResult, turn: Turn) -> bool:
    if result.kind != "certificate":
        # A key belongs to its claim whichever worker made it, and a CSR is only a signature over it: nothing is left outside.
        return _mark_settled(result, "nothing to undo: the claim's own key")
    request, der = result.request, bytes(result.payload)
    recorded = getattr(request, "certificate", None)
    # Without the signatures: what the own CA signs twice is the same to the last bit but for those.
    if recorded is not None and tbs_of(bytes(recorded.body.der)) == tbs_of(der):
        return _mark_settled(result, "the same certificate was recorded")
    client = turn.client(request.issuer)
    if client is None:
        return False
    try:
        note = revoke_unwanted(client, request.issuer, der, RevocationReason.SUPERSEDED, request=request)
    except BelongsHere as exc:
        alert_kept(request.issuer, exc.owner, request=request)
        return _mark_settled(result, f"not revoked: it belongs to {exc.owner}")
    except CAUnreachable as exc:
        turn.not_served(request.issuer, exc)
        log.warning("unclaimed certificate of %s not revoked yet: %s", request.public_id, exc)
        return False
    return _mark_settled(result, "revoked: the request ended otherwise" if note == "revoked" else note)


@transaction.atomic
def _mark_settled(result: UnclaimedResult, settlement: str) -> bool:
    now = database_now()
    done = UnclaimedResult.objects.filter(pk=result.pk, settled_at__isnull=True).update(settled_at=now, settlement=settlement[:100])
    if done:
        record_many([Event(EventType.RESULT_ADOPTED, result.request.subject, WORKER, now, {"kind": result.kind, "settlement": settlement})])
    return bool(done)


def clear_after_the_end(turn: Turn | None = None) -> int:
    """Look up the orders of requests that ended while an order may have reached the CA. Returns how many were settled.

    Without this a valid certificate could exist that nobody knows: the worker died with the reply, or the CA replied with
    another certificate, and no attempt will ask again. The certificate of a cancelled or rejected request is revoked. A failed
    request is resumed when its own certificate is at the CA, as `resume` by a person would adopt it too.
    """
    turn = turn or Turn()
    ended = Q(request__state__in=(S.CANCELLED, S.REJECTED)) & Q(outcome__in=("lost", "unknown", "pending", "mismatch", "found"))
    ended |= Q(request__state__in=(S.CANCELLED, S.REJECTED), closed_at__isnull=True)
    # Not requests whose worker was lost: one that kills workers is resumed by a person only.
    failed = Q(request__state=S.FAILED, request__stopped_at=S.CSR_CREATED, outcome__in=("unknown", "mismatch"))
    attempts = Attempt.objects.filter(ended | failed, step="submit")
    rows = attempts.select_related("request__issuer", "request__team", "request__csr")
    return each_due(rows, turn, _clear, issuer_of=lambda attempt: attempt.request.issuer, issuer_path="request__issuer")


def _clear(attempt: Attempt, turn: Turn) -> bool:
    request = attempt.request
    client = turn.client(request.issuer)
    if client is None:
        return False
    # The time of this attempt: no certificate from before it can be its own.
    order = order_for(request, request.csr, now=attempt.opened_at)
    try:
        found = client.find(order)
        # The CA may still issue it: asked again by a later run.
        if isinstance(found, Pending):
            return False
        if found is None:
            return _mark_cleared(attempt, "cleared", "the CA has no certificate")
        if request.state == S.FAILED:
            return _go_on_with_found(attempt, found, order)
        reason = RevocationReason.CESSATION_OF_OPERATION
        note = revoke_unwanted(client, request.issuer, found.certificate_der, reason, request=request)
    except BelongsHere as exc:
        alert_kept(request.issuer, exc.owner, request=request)
        return _mark_cleared(attempt, "cleared", f"the CA answers with what belongs to {exc.owner}")
    except CAUnreachable as exc:
        turn.not_served(request.issuer, exc)
        log.warning("cannot clear up after %s yet: %s", request.public_id, exc)
        return False
    note = "a certificate was found and revoked" if note == "revoked" else f"a certificate was found: {note}"
    return _mark_cleared(attempt, "cleared", note)


def _go_on_with_found(attempt: Attempt, found: Issued, order: Order) -> bool:
    """Resume a failed request whose own certificate is at the CA. Its next attempt looks the certificate up and adopts it."""
    # Verified first: a request that is resumed for a wrong certificate would fail in the same way once more.
    request = attempt.request
    try:
        verify_result(found, order, request.issuer, now=database_now())
    except SignerMismatch as exc:
        return _mark_cleared(attempt, "cleared", f"the CA still answers with another certificate: {'; '.join(exc.reasons)}")
    with UnitOfWork() as work:
        locked = CertificateRequest.objects.select_for_update().get(pk=request.pk)
        # Not "cleared": should the request end otherwise after all, the certificate is still to be revoked.
        done = _mark_cleared(attempt, "found", "its certificate was found at the CA; the request goes on")
        if done and locked.state == S.FAILED:
            release(work, [locked], actor=WORKER)
    return done


@transaction.atomic
def _mark_cleared(attempt: Attempt, outcome: str, note: str) -> bool:
    # Compare and set: of two sweepers at once one records what became of it.
    now = database_now()
    same = Attempt.objects.filter(pk=attempt.pk, outcome=attempt.outcome)
    done = same.update(outcome=outcome, detail=note[:500], closed_at=attempt.closed_at or now)
    if done:
        settled = {"kind": "certificate", "settlement": recordable(note, most=300)}
        record_many([Event(EventType.RESULT_ADOPTED, attempt.request.subject, WORKER, now, settled)])
    return bool(done)
