"""The sweeper: finds what stands still and sets it going again. PostgreSQL is the truth, the queue only a hint.

Runs every few seconds from beat; each part is safe to run twice at once.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import groupby

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from audit.clock import database_now
from audit.events import EventType
from audit.log import Event, record_many
from certs.ca.base import CAUnreachable, Pending, RevocationOrder
from certs.ca.registry import get_ca_client
from certs.errors import NotFound
from certs.models import Attempt, Certificate, CertificateRequest, Issuer, QuarantinedCertificate, UnclaimedResult
from certs.notifications.alerts import close_alerts, close_circuit, raise_alert
from certs.terms import RequestState as S
from certs.terms import RevocationReason
from certs.workflow.canvas import STEP_TASKS, queue_of, room_in, start
from certs.workflow.holding import ca_is_back, release_held
from certs.workflow.orders import order_for
from certs.workflow.states import UNFINISHED, WORKER
from certs.x509.pem import serial_of, tbs_of
from keys.registry import is_answering

log = logging.getLogger(__name__)

CHUNK = 100
RELEASE_FIRST, RELEASE_THEN = 200, 5000  # at once: to see whether it works again, and when it has shown that it does
REVOCATION_TRIES_BEFORE_ALARM = 5


def restart_standing() -> int:
    """Start the chain again for requests that nobody works on: no live attempt, no change for a while, not held.

    No more at once than has room in the queue: what waits there for a worker that is away is not sent again.
    """
    now = database_now()
    quiet_since = now - timedelta(seconds=settings.PKI_SWEEP_AFTER_SECONDS)
    lively = Q(closed_at__isnull=True, lease_until__gt=now) | Q(closed_at__gt=quiet_since)
    live = Attempt.objects.filter(lively, request=OuterRef("pk"))
    count = 0
    for state in UNFINISHED:
        standing = list(
            CertificateRequest.objects.filter(~Exists(live), state=state, held_since__isnull=True, state_changed_at__lt=quiet_since)
            .order_by("losses", "state_changed_at")
            .values_list("pk", "losses", "bulk_item")[: CHUNK * settings.PKI_SWEEP_QUEUE_MOST]
        )
        for (losses, bulk), rows in groupby(sorted(standing, key=_lane), key=_lane):
            ids, size = [pk for pk, _, _ in rows], chunk_size(losses)
            room = room_in(queue_of(STEP_TASKS[state], bulk=bulk))
            for first in range(0, len(ids), size)[:room]:
                chunk = ids[first : first + size]
                start(chunk, at=state, bulk=bulk)
                count += len(chunk)
    return count


def _lane(row: tuple[int, int, int | None]) -> tuple[int, bool]:
    return row[1], row[2] is not None


def chunk_size(losses: int) -> int:
    """A chunk that was lost twice is halved, and halved again with each further loss: what kills workers is soon alone."""
    return max(1, CHUNK >> max(0, losses - 1))


def release_for_answering_cas() -> int:
    """Resume what was held for a CA, for each CA that answers again: some, and all when it has issued again. Needs the CA role."""
    released = 0
    held = CertificateRequest.objects.filter(held_since__isnull=False, state=S.CSR_CREATED)
    for issuer in Issuer.objects.filter(pk__in=held.values("issuer"), circuit_opened_at__isnull=True):
        if get_ca_client(issuer.alias).is_working():
            limit = _how_many(held.filter(issuer=issuer), Certificate.objects.filter(issuer=issuer))
            released += release_held(states=[S.CSR_CREATED], issuer=issuer, limit=limit)
            ca_is_back(issuer, now=database_now())
    return released


def release_for_answering_keys() -> int:
    """The same for each key backend that answers again. Needs the keys role."""
    released = 0
    held = CertificateRequest.objects.filter(held_since__isnull=False, state__in=(S.APPROVED, S.KEY_READY))
    for backend in held.order_by().values_list("key_backend", flat=True).distinct():
        if is_answering(backend):
            limit = _how_many(held.filter(key_backend=backend), Certificate.objects.filter(request__key_backend=backend))
            released += release_held(states=[S.APPROVED, S.KEY_READY], backend=backend, limit=limit)
            close_alerts(kind="keys_unavailable", cause=f"keys:{backend}", now=database_now())
    return released


def _how_many(held: QuerySet[CertificateRequest], certificates: QuerySet[Certificate]) -> int:
    """An answer to a probe is no proof yet, a certificate made since the last request was held is one: then all of them go on at once,
    and none waits a minute more.
    """
    last_held = held.order_by("-held_since").values_list("held_since", flat=True).first()
    newest = certificates.order_by("-pk").values_list("issued_at", flat=True).first()
    return RELEASE_THEN if newest and last_held and newest > last_held else RELEASE_FIRST


def revoke_quarantined() -> int:
    """Revoke wrong certificates at their CA; when none is left, the CA's circuit closes and orders go on."""
    done = 0
    for wrong in QuarantinedCertificate.objects.filter(revoked_at__isnull=True).select_related("issuer", "request")[:CHUNK]:
        done += _revoke_at_ca(wrong)
    stopped = Issuer.objects.filter(circuit_opened_at__isnull=False)
    for issuer in stopped.exclude(pk__in=QuarantinedCertificate.objects.filter(revoked_at__isnull=True).values("issuer")):
        with transaction.atomic():
            close_circuit(issuer, now=database_now())
    return done


def _revoke_at_ca(wrong: QuarantinedCertificate) -> bool:
    serial = serial_of(bytes(wrong.der))
    if serial is None:
        return _settle_quarantined(wrong, note="unreadable: nothing that could be revoked")
    order = RevocationOrder(serial, RevocationReason.CESSATION_OF_OPERATION, database_now(), bytes(wrong.der))
    try:
        get_ca_client(wrong.issuer.alias).revoke(order)
    except NotFound:
        return _settle_quarantined(wrong, note="the CA does not know this serial")
    except CAUnreachable as exc:
        _count_failed_revocation(wrong, str(exc))
        return False
    return _settle_quarantined(wrong, note="revoked")


@transaction.atomic
def _settle_quarantined(wrong: QuarantinedCertificate, *, note: str) -> bool:
    now = database_now()
    settled = QuarantinedCertificate.objects.filter(pk=wrong.pk, revoked_at__isnull=True).update(
        revoked_at=now, revocation_error="" if note == "revoked" else note
    )
    if settled:
        record_many(
            [
                Event(
                    EventType.CERTIFICATE_REVOKED,
                    wrong.request.subject,
                    WORKER,
                    now,
                    {"quarantined": True, "issuer": wrong.issuer.name, "note": note},
                )
            ]
        )
    return bool(settled)


@transaction.atomic
def _count_failed_revocation(wrong: QuarantinedCertificate, error: str) -> None:
    tries = wrong.revocation_tries + 1
    QuarantinedCertificate.objects.filter(pk=wrong.pk).update(revocation_tries=tries, revocation_error=error[:500])
    if tries == REVOCATION_TRIES_BEFORE_ALARM:
        raise_alert(
            kind="quarantine_not_revoked",
            cause=f"quarantine:{wrong.pk}",
            message=f"A wrong certificate from {wrong.issuer.name} could not be revoked {tries} times: {error}",
            next_step="Revoke it by hand at the CA; the portal keeps trying and sends nothing to this CA meanwhile.",
            now=database_now(),
        )


def settle_unclaimed() -> int:
    """The reaper: what a losing attempt brought home is either what was recorded anyway, or it is adopted or revoked."""
    settled = 0
    for result in UnclaimedResult.objects.filter(settled_at__isnull=True).select_related("request__issuer")[:CHUNK]:
        settled += _settle(result)
    return settled


def _settle(result: UnclaimedResult) -> bool:
    if result.kind != "certificate":
        # A key is its claim's key whoever made it, and a CSR is only a signature over it: nothing lives outside because of them.
        return _mark_settled(result, "nothing to undo: the claim's own key")
    request = result.request
    recorded = getattr(request, "certificate", None)
    # Without the signatures: what the own CA signs twice is the same to the last bit but for those.
    if recorded is not None and tbs_of(bytes(recorded.body.der)) == tbs_of(bytes(result.payload)):
        return _mark_settled(result, "the same certificate was recorded")
    if recorded is None and request.state in UNFINISHED:
        return False  # still under way: the look-up of the next attempt will find this very certificate
    return _revoke_unclaimed(result)


def _revoke_unclaimed(result: UnclaimedResult) -> bool:
    serial, issuer = serial_of(bytes(result.payload)), result.request.issuer
    if serial is not None:
        order = RevocationOrder(serial, RevocationReason.SUPERSEDED, database_now(), bytes(result.payload))
        try:
            get_ca_client(issuer.alias).revoke(order)
        except CAUnreachable as exc:
            log.warning("unclaimed certificate of %s not revoked yet: %s", result.request.public_id, exc)
            return False
        except NotFound:
            return _mark_settled(result, "the CA does not know this serial")
    return _mark_settled(result, "revoked: the request ended otherwise")


@transaction.atomic
def _mark_settled(result: UnclaimedResult, settlement: str) -> bool:
    now = database_now()
    done = UnclaimedResult.objects.filter(pk=result.pk, settled_at__isnull=True).update(settled_at=now, settlement=settlement)
    if done:
        record_many([Event(EventType.RESULT_ADOPTED, result.request.subject, WORKER, now, {"kind": result.kind, "settlement": settlement})])
    return bool(done)


def clear_after_the_end() -> int:
    """Requests that were cancelled or rejected while an order of theirs may have reached the CA: ask, and revoke what is there.

    Without this a certificate could live that nobody knows: the worker died with the answer and nobody will ask again.
    """
    now = database_now()
    open_ended = Q(outcome__in=("lost", "unknown", "pending")) | Q(closed_at__isnull=True, lease_until__lt=now)
    attempts = Attempt.objects.filter(open_ended, step="submit", request__state__in=(S.CANCELLED, S.REJECTED))
    cleared = 0
    for attempt in attempts.select_related("request__issuer", "request__team", "request__csr")[:CHUNK]:
        cleared += _clear(attempt)
    return cleared


def _clear(attempt: Attempt) -> bool:
    request = attempt.request
    client = get_ca_client(request.issuer.alias)
    try:
        found = client.find(order_for(request, request.csr, now=attempt.opened_at))
        if isinstance(found, Pending):
            return False
        serial = serial_of(found.certificate_der) if found else None
        if found and serial is not None:
            client.revoke(RevocationOrder(serial, RevocationReason.CESSATION_OF_OPERATION, database_now(), found.certificate_der))
    except CAUnreachable as exc:
        log.warning("cannot clear up after %s yet: %s", request.public_id, exc)
        return False
    note = "a certificate was found and revoked" if found else "the CA has no certificate"
    with transaction.atomic():
        now = database_now()
        done = Attempt.objects.filter(pk=attempt.pk, outcome=attempt.outcome).update(
            outcome="cleared", detail=note, closed_at=attempt.closed_at or now
        )
        if done:
            record_many([Event(EventType.RESULT_ADOPTED, request.subject, WORKER, now, {"kind": "certificate", "settlement": note})])
    return bool(done)
