"""Revocation is a durable intent: written first, told to the CA then, and tried again until the CA has done it (PROTOCOLS 9)."""

from __future__ import annotations

import logging
from datetime import datetime

from celery import signature
from django.db import transaction
from django.db.models import F
from kombu.exceptions import OperationalError

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from certs.ca.base import CAUnreachable, RevocationOrder
from certs.ca.registry import get_ca_client
from certs.errors import Conflict, NotFound
from certs.models import Certificate, Revocation
from certs.notifications.alerts import raise_alert
from certs.terms import RevocationReason
from certs.workflow.states import WORKER

log = logging.getLogger(__name__)

CHUNK = 200
TRIES_BEFORE_ALARM = 5


@transaction.atomic
def request_revocation(
    certificate: Certificate, *, reason: RevocationReason, actor: Actor, invalidity_date: datetime | None = None, begin: bool = True
) -> Revocation:
    """From good to revocation_pending. The caller has checked that the actor may.

    Asking again for the same reason answers the revocation there is; another reason raises Conflict, but keyCompromise may
    always be added: whoever relies on the certificate must learn it.
    """
    row = Certificate.objects.select_for_update().get(pk=certificate.pk)
    now = database_now()
    earlier = Revocation.objects.select_for_update().filter(certificate=row).first()
    if earlier is not None:
        return _again(earlier, reason, actor=actor, now=now)
    revocation = Revocation.objects.create(
        certificate=row, reason=reason, requested_at=now, requested_by=actor.name, invalidity_date=invalidity_date
    )
    Certificate.objects.filter(pk=row.pk).update(status=Certificate.Status.REVOCATION_PENDING, status_version=F("status_version") + 1)
    data = {"cert_id": row.cert_id, "reason": str(reason)}
    record(EventType.CERTIFICATE_REVOCATION_REQUESTED, subject=f"certificate:{row.cert_id}", actor=actor, at=now, data=data)
    if begin:
        transaction.on_commit(_start)
    return revocation


def _again(earlier: Revocation, reason: RevocationReason, *, actor: Actor, now: datetime) -> Revocation:
    if earlier.reason == reason:
        return earlier
    if reason is not RevocationReason.KEY_COMPROMISE:
        raise Conflict(f"It is revoked already, as {earlier.reason}.", field="reason", next_step="Only keyCompromise may be added later.")
    Revocation.objects.filter(pk=earlier.pk).update(reason=reason)
    Certificate.objects.filter(pk=earlier.pk).update(status_version=F("status_version") + 1)
    data = {"reason": str(reason), "earlier_reason": earlier.reason}
    record(EventType.CERTIFICATE_REVOCATION_REQUESTED, subject=f"certificate:{earlier.certificate.cert_id}", actor=actor, at=now, data=data)
    earlier.reason = reason
    return earlier


def _start() -> None:
    try:
        signature("certs.tasks.process_revocations").apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the revocation waits for the sweeper: %s", exc)


def process_revocations() -> int:
    """Tell the CAs; answers how many were confirmed."""
    pending = Revocation.objects.filter(confirmed_at__isnull=True).select_related("certificate__issuer", "certificate__body")
    return sum(_tell_ca(revocation) for revocation in pending.order_by("requested_at")[:CHUNK])


def _tell_ca(revocation: Revocation) -> bool:
    certificate = revocation.certificate
    order = RevocationOrder(
        int(certificate.serial_number, 16), RevocationReason(revocation.reason), revocation.requested_at, bytes(certificate.body.der)
    )
    try:
        get_ca_client(certificate.issuer.alias).revoke(order)
    except (CAUnreachable, NotFound) as exc:
        _count_failure(revocation, str(exc))
        return False
    return _confirm(revocation)


@transaction.atomic
def _confirm(revocation: Revocation) -> bool:
    now = database_now()
    if not Revocation.objects.filter(pk=revocation.pk, confirmed_at__isnull=True).update(
        confirmed_at=now, tries=F("tries") + 1, last_error=""
    ):
        return False
    certificate = revocation.certificate
    Certificate.objects.filter(pk=certificate.pk).update(status=Certificate.Status.REVOKED, status_version=F("status_version") + 1)
    data = {"cert_id": certificate.cert_id, "issuer": certificate.issuer.name, "reason": revocation.reason}
    record(EventType.CERTIFICATE_REVOKED, subject=f"certificate:{certificate.cert_id}", actor=WORKER, at=now, data=data)
    return True


@transaction.atomic
def _count_failure(revocation: Revocation, error: str) -> None:
    Revocation.objects.filter(pk=revocation.pk).update(tries=F("tries") + 1, last_error=error[:300])
    if revocation.tries + 1 == TRIES_BEFORE_ALARM:
        raise_alert(
            kind="revocation_pending",
            cause=f"certificate:{revocation.certificate.cert_id}",
            message=f"{revocation.certificate.cert_id} could not be revoked at {revocation.certificate.issuer.name}: {error}",
            next_step="The portal treats it as revoked and keeps trying; revoke it at the CA by hand if that stays down.",
            now=database_now(),
        )
