"""Deliver revocations and releases to the CAs, until each CA has confirmed them.

A lease on the revocation's row lets one worker at a time send about a certificate, so that a late
hold cannot overtake its own release. "Already revoked" and "no longer revoked" are success.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from audit.events import EventType
from audit.log import record
from certs.alone import Alone
from certs.ca.base import CAUnreachable, NotDoneYet, RevocationOrder
from certs.enums import AlertKind, RevocationReason
from certs.errors import NotFound
from certs.inventory.states import state_of
from certs.models import Certificate, Issuer, Revocation
from certs.notifications.alerts import ca_cause, close_alerts, raise_alert
from certs.requests.states import WORKER
from certs.requests.turn import Turn
from db.clock import database_now

log = logging.getLogger(__name__)

CHUNK = 200
TRIES_BEFORE_ALARM = 5  # of all revocations of a CA together


def undelivered() -> QuerySet[Revocation]:
    """Return the revocations and releases that a CA has not confirmed."""
    releasing = Q(release_requested_at__isnull=False, released_at__isnull=True)
    return Revocation.objects.filter(Q(confirmed_at__isnull=True) | releasing)


def process_revocations(turn: Turn | None = None) -> int:
    """Deliver revocations and releases to the CAs of `turn` (default: all CAs).

    Returns how many were confirmed. Safe to run twice at once. A CA that does not answer, or is not
    configured, is left alone for the rest of the turn. No call of a CA begins after the turn is
    over: the sweeper starts the next run for what is left.
    """
    turn = turn or Turn()
    confirmed = 0
    tried: set[int] = set()
    while not turn.is_over():
        # The least tried first: a revocation that a CA refuses each time delays no other.
        free = undelivered().filter(_is_free(database_now()), certificate__issuer__in=turn.issuers)
        # A failed one is free again at once. Without the ids of those tried, this loop would send it until the turn is over.
        free = free.exclude(pk__in=tried).select_related("certificate__issuer", "certificate__body")
        page = list(free.order_by("tries", "requested_at", "pk")[:CHUNK])
        if not page:
            break
        tried.update(one.pk for one in page)
        # Asked before each call: a CA that takes 10 s for each of a page would hold its worker beyond Celery's time limit,
        # and beyond the lease on the CA, so that a second worker would begin there.
        confirmed += sum(_deliver(one, turn) for one in page if not turn.is_over())
    if confirmed:
        _close_alerts_that_are_over()
    return confirmed


def _deliver(revocation: Revocation, turn: Turn) -> bool:
    """Send one revocation or release to its CA. Returns whether the CA confirmed it."""
    certificate = revocation.certificate
    # Before the claim: a revocation that is not sent counts no try, and no lease keeps it from the next run.
    client = turn.client(certificate.issuer) if turn.serves(certificate.issuer) else None
    if client is None:
        return False
    # 1. Claim the row, if it still is what was read. No other worker sends about this certificate then.
    now = database_now()
    releasing = revocation.release_requested_at is not None
    same = undelivered().filter(_is_free(now), pk=revocation.pk, reason=revocation.reason)
    same = same.filter(release_requested_at__isnull=not releasing)
    if not same.update(lease_until=now + timedelta(seconds=settings.PKI_ATTEMPT_LEASE_SECONDS)):
        return False
    # 2. Send it. No transaction is open: the reply of a CA may take a minute.
    with Alone() as outcome:
        serial = int(certificate.serial_number, 16)
        if releasing:
            client.release(serial)
        else:
            reason, der = RevocationReason(revocation.reason), bytes(certificate.body.der)
            client.revoke(RevocationOrder(serial, reason, revocation.requested_at, der))
    error = outcome.error
    if error is None:
        # 3. Record the confirmation, unless a person changed the revocation while it was sent.
        return _confirm(revocation)
    # 4. Or count the failure and end the lease. NotFound is a failure too: a certificate that its own CA does not know is a
    #    contradiction for an operator, and the portal goes on reporting it as revoked.
    if isinstance(error, CAUnreachable):
        turn.not_served(certificate.issuer, error)
    if isinstance(error, NotDoneYet):
        _count_wait(revocation, str(error))
    elif isinstance(error, CAUnreachable | NotFound):
        _count_failure(revocation, str(error))
    else:
        # The text of an unforeseen error may quote a token or a request, and pages show `last_error`: only the type is kept.
        log.error("revocation of %s not delivered", certificate, exc_info=error)
        _count_failure(revocation, type(error).__name__)
    return False


@transaction.atomic
def _confirm(sent: Revocation) -> bool:
    """Record that the CA confirmed what was sent. Returns False where the row changed since: the CA
    gets the new version in the next run.

    Effects: the revocation, the certificate's status and `status_version` (which dates its place in
    CRLs and OCSP replies), an audit event.
    """
    now = database_now()
    # The certificate's row before the revocation's, as in every writer of both: no deadlock.
    certificate = Certificate.objects.select_for_update(of=("self",)).select_related("issuer").get(pk=sent.pk)
    revocation = Revocation.objects.select_for_update().get(pk=sent.pk)
    releasing = revocation.release_requested_at is not None
    changed = (revocation.reason, revocation.release_requested_at) != (sent.reason, sent.release_requested_at)
    # A worker that was held up for longer than its lease finds what another one has recorded since: nothing is recorded twice.
    settled = revocation.released_at is not None or (revocation.confirmed_at is not None and not releasing)
    if changed or settled:
        # The row keeps what is newer than the call. Free at once, so that the next run does not wait for the lease.
        Revocation.objects.filter(pk=sent.pk).update(lease_until=None)
        return False
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


def _is_free(now: datetime) -> Q:
    """Return the condition for rows about which no worker is sending now."""
    return Q(lease_until__isnull=True) | Q(lease_until__lt=now)


@transaction.atomic
def _count_failure(revocation: Revocation, error: str) -> None:
    """Keep the error and end the lease; alert operators when a CA failed too often."""
    _end_try(revocation, error)
    # Each run begins with another revocation, and a silent CA gets one call a run: the tries of one row would reach the
    # threshold only after many runs. So the tries of all of them count.
    all_of_it = undelivered().filter(certificate__issuer=revocation.certificate.issuer).aggregate(tries=Sum("tries"))
    if (all_of_it["tries"] or 0) >= TRIES_BEFORE_ALARM:
        _alert_waiting(revocation, error)


@transaction.atomic
def _count_wait(revocation: Revocation, why: str) -> None:
    """Keep that the CA has only accepted it, and end the lease; alert operators when that was so too often.

    Most are done when they are asked for again, so here the tries of this one count.
    """
    _end_try(revocation, why)
    if revocation.tries + 1 >= TRIES_BEFORE_ALARM:
        _alert_waiting(revocation, why)


def _end_try(revocation: Revocation, why: str) -> None:
    Revocation.objects.filter(pk=revocation.pk).update(tries=F("tries") + 1, last_error=why[:300], lease_until=None)


def _alert_waiting(revocation: Revocation, error: str) -> None:
    issuer, now = revocation.certificate.issuer, database_now()
    waiting = undelivered().filter(certificate__issuer=issuer).count()
    raise_alert(
        kind=AlertKind.REVOCATION_PENDING,
        cause=ca_cause(issuer),
        message=f"{waiting} revocation(s) wait for {issuer.name}, {revocation.certificate.cert_id}"
        f" ({state_of(revocation.certificate, now).label}) among them: {error}",
        next_step="The portal treats them as revoked and keeps trying; revoke at the CA by hand if it stays down.",
        now=now,
    )


@transaction.atomic
def _close_alerts_that_are_over() -> None:
    """Close the alert of each CA that has confirmed all: the work itself has succeeded, not a probe of the CA."""
    now = database_now()
    for issuer in Issuer.objects.exclude(pk__in=undelivered().values("certificate__issuer")):
        close_alerts(kind=AlertKind.REVOCATION_PENDING, cause=ca_cause(issuer), now=now)
