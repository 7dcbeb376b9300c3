"""Telling the CAs what was revoked or released, until each has confirmed it.

One worker at a time speaks to a CA about a certificate (a lease on the revocation's row), so that a late hold cannot overtake
its own release. "Already revoked" and "not revoked any more" are success.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Sum

from audit.events import EventType
from audit.log import record
from certs.alone import Alone
from certs.ca.base import CAClient, CAUnreachable, RevocationOrder
from certs.enums import RevocationReason
from certs.errors import NotFound
from certs.models import Certificate, Issuer, Revocation
from certs.notifications.alerts import ca_cause, close_alerts, raise_alert
from certs.requests.states import WORKER
from certs.requests.turn import Turn
from db.clock import database_now

log = logging.getLogger(__name__)

CHUNK = 200
MOST_SECONDS = 120.0  # of one run
TRIES_BEFORE_ALARM = 5


def untold() -> QuerySet[Revocation]:
    """Revocations and releases that a CA has not confirmed."""
    return Revocation.objects.filter(Q(confirmed_at__isnull=True) | Q(release_requested_at__isnull=False, released_at__isnull=True))


def process_revocations(turn: Turn | None = None) -> int:
    """Deliver revocations and releases to the CAs of `turn` (default: all CAs). Returns how many
    were confirmed. Safe to run twice at once.

    A CA that does not answer, or is not configured, is left alone for the rest of the turn. What
    is left when the time is over is begun again by the sweeper.
    """
    turn = turn or Turn()
    confirmed, until = 0, time.monotonic() + MOST_SECONDS
    seen: set[int] = set()
    while time.monotonic() < until:
        page = _free(turn, seen)
        if not page:
            break
        seen.update(one.pk for one in page)
        confirmed += sum(_told(one, turn) for one in page)
    if confirmed:
        _close_alerts_that_are_over()
    return confirmed


def _free(turn: Turn, seen: Collection[int]) -> list[Revocation]:
    """Those that nobody delivers and this run has not tried, the longest untried first."""
    free = untold().filter(Q(lease_until__isnull=True) | Q(lease_until__lt=database_now()), certificate__issuer__in=turn.issuers)
    free = free.exclude(pk__in=seen).select_related("certificate__issuer", "certificate__body")
    return list(free.order_by("tries", "requested_at", "pk")[:CHUNK])


def _told(revocation: Revocation, turn: Turn) -> bool:
    issuer = revocation.certificate.issuer
    client = turn.client(issuer) if turn.serves(issuer) else None
    if client is None or not _claim(revocation):
        return False
    with Alone() as outcome:
        _tell(revocation, client)
    error = outcome.error
    if error is None:
        return _confirm(revocation)
    if isinstance(error, CAUnreachable):
        turn.not_served(issuer, error)
    if isinstance(error, CAUnreachable | NotFound):
        _count_failure(revocation, str(error))
    else:  # its text may quote anything
        log.error("revocation of %s not delivered", revocation.certificate, exc_info=error)
        _count_failure(revocation, type(error).__name__)
    return False


def _claim(revocation: Revocation) -> bool:
    """Compare and set: nobody else speaks of this certificate meanwhile, and it still says what was read."""
    now = database_now()
    free = untold().filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now), pk=revocation.pk, reason=revocation.reason)
    same = free.filter(release_requested_at__isnull=revocation.release_requested_at is None)
    return bool(same.update(lease_until=now + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)))


def _tell(revocation: Revocation, client: CAClient) -> None:
    """No transaction is open here. Raises CAUnreachable, NotFound."""
    certificate = revocation.certificate
    serial = int(certificate.serial_number, 16)
    if revocation.release_requested_at is not None:
        client.release(serial)
        return
    reason = RevocationReason(revocation.reason)
    client.revoke(RevocationOrder(serial, reason, revocation.requested_at, bytes(certificate.body.der)))


@transaction.atomic
def _confirm(told: Revocation) -> bool:
    """False when it says something else by now than what the CA was told: then it is told again."""
    now = database_now()
    certificate = Certificate.objects.select_for_update(of=("self",)).select_related("issuer").get(pk=told.pk)
    revocation = Revocation.objects.select_for_update().get(pk=told.pk)
    changed = (revocation.reason, revocation.release_requested_at) != (told.reason, told.release_requested_at)
    settled = revocation.released_at is not None or (revocation.confirmed_at is not None and revocation.release_requested_at is None)
    if changed or settled:
        Revocation.objects.filter(pk=told.pk).update(lease_until=None)
        return False
    releasing = revocation.release_requested_at is not None
    revocation.tries, revocation.last_error, revocation.lease_until = revocation.tries + 1, "", None
    if releasing:
        revocation.released_at = now
    else:
        revocation.confirmed_at = now
    revocation.save()
    status = Certificate.Status.GOOD if releasing else Certificate.Status.REVOKED
    Certificate.objects.filter(pk=certificate.pk).update(status=status, status_version=F("status_version") + 1)
    data = {"cert_id": certificate.cert_id, "issuer": certificate.issuer.name, "reason": revocation.reason}
    event = EventType.CERTIFICATE_RELEASED if releasing else EventType.CERTIFICATE_REVOKED
    record(event, subject=f"certificate:{certificate.cert_id}", actor=WORKER, at=now, data=data)
    return True


@transaction.atomic
def _count_failure(revocation: Revocation, error: str) -> None:
    Revocation.objects.filter(pk=revocation.pk).update(tries=F("tries") + 1, last_error=error[:300], lease_until=None)
    issuer = revocation.certificate.issuer
    # Each run tries another one first, so the tries of all count.
    all_of_it = untold().filter(certificate__issuer=issuer).aggregate(waiting=Count("pk"), tries=Sum("tries"))
    if (all_of_it["tries"] or 0) < TRIES_BEFORE_ALARM:
        return
    raise_alert(
        kind="revocation_pending",
        cause=ca_cause(issuer),
        message=f"{all_of_it['waiting']} revocation(s) wait for {issuer.name}, {revocation.certificate.cert_id} among them: {error}",
        next_step="The portal treats them as revoked and keeps trying; revoke at the CA by hand if it stays down.",
        now=database_now(),
    )


@transaction.atomic
def _close_alerts_that_are_over() -> None:
    now = database_now()
    for issuer in Issuer.objects.exclude(pk__in=untold().values("certificate__issuer")):
        close_alerts(kind="revocation_pending", cause=ca_cause(issuer), now=now)
