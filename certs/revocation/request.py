"""Revocation is a durable intent: written first, told to the CA then, and tried again until the CA has done it (PROTOCOLS 9).

From the moment it is written the portal treats the certificate as revoked: no download, no renewal, and the own CRL and OCSP
say so. `certs.revocation.deliver` tells the CAs.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from celery import signature
from django.db import transaction
from django.db.models import F
from kombu.exceptions import OperationalError

from audit.events import EventType
from audit.log import Value, record
from certs.access.permissions import Authority
from certs.ca.registry import capabilities_of
from certs.enums import RevocationReason
from certs.errors import Conflict, NotPermitted
from certs.models import Certificate, Revocation
from certs.notifications.digests import note_for_digest
from certs.notifications.topics import Topic
from certs.requests.lineage import cancel_stopped_renewals
from db.clock import database_now

log = logging.getLogger(__name__)

HOLD, COMPROMISE = RevocationReason.CERTIFICATE_HOLD, RevocationReason.KEY_COMPROMISE


@transaction.atomic
def request_revocation(
    certificate: Certificate,
    *,
    reason: RevocationReason,
    authority: Authority,
    invalidity_date: datetime | None = None,
    comment: str = "",
    begin: bool = True,
) -> Revocation:
    """From good to revocation_pending. The caller has checked that the actor may.

    A hold by an officer, or by the portal itself, is the security team's: only an officer releases it.

    Asking again for the same reason answers the revocation there is. Another reason raises Conflict, with two exceptions: a
    hold may become final, and keyCompromise may always be added, also to what is superseded or expired: whoever relies on the
    certificate must learn it. Anything else about an expired certificate raises Conflict.
    """
    row = Certificate.objects.select_for_update().get(pk=certificate.pk)
    now = database_now()
    earlier = Revocation.objects.select_for_update().filter(certificate=row).first()
    if earlier is not None and earlier.released_at is None:
        revocation = _again(row, earlier, reason, authority=authority, invalidity_date=invalidity_date, comment=comment, now=now)
    else:
        _check_revocable(row, reason, now=now)
        revocation = _first(row, earlier, reason, authority=authority, invalidity_date=invalidity_date, comment=comment, now=now)
    if begin:
        transaction.on_commit(begin_telling)
    if reason is not RevocationReason.SUPERSEDED:
        transaction.on_commit(lambda: cancel_stopped_renewals(row))
    return revocation


def _check_revocable(row: Certificate, reason: RevocationReason, *, now: datetime) -> None:
    if row.not_after < now and reason is not COMPROMISE:
        raise Conflict(
            f"{row.cert_id} expired on {row.not_after:%Y-%m-%d %H:%M} UTC, so nobody relies on it any more.",
            field="cert_id",
            next_step="Only keyCompromise is recorded for an expired certificate.",
        )
    if reason is HOLD and not capabilities_of(row.issuer.alias).holds:
        raise Conflict(
            f"{row.issuer.name} cannot take a revocation back, so a hold there would be final.",
            field="reason",
            next_step="Revoke it for another reason, or leave it.",
        )


def _first(
    row: Certificate,
    released: Revocation | None,
    reason: RevocationReason,
    *,
    authority: Authority,
    invalidity_date: datetime | None,
    comment: str,
    now: datetime,
) -> Revocation:
    """`released`: the row of a hold that was taken back; it is written anew, what it said is in the audit log."""
    revocation = released or Revocation(certificate=row)
    revocation.reason, revocation.requested_at, revocation.requested_by = str(reason), now, authority.actor.name
    revocation.invalidity_date, revocation.comment = invalidity_date, comment
    revocation.by_security_team = reason is HOLD and authority.is_officer
    revocation.confirmed_at = revocation.released_at = revocation.release_requested_at = revocation.lease_until = (
        revocation.first_crl_number
    ) = None
    revocation.release_requested_by, revocation.tries, revocation.last_error = "", 0, ""
    revocation.save()
    Certificate.objects.filter(pk=row.pk).update(status=Certificate.Status.REVOCATION_PENDING, status_version=F("status_version") + 1)
    note_for_digest(Topic.REVOKED, [row], now=now)
    data = {"cert_id": row.cert_id, "reason": str(reason)} | _terms(revocation)
    record(EventType.CERTIFICATE_REVOCATION_REQUESTED, subject=f"certificate:{row.cert_id}", actor=authority.actor, at=now, data=data)
    return revocation


def _again(
    row: Certificate,
    earlier: Revocation,
    reason: RevocationReason,
    *,
    authority: Authority,
    invalidity_date: datetime | None,
    comment: str,
    now: datetime,
) -> Revocation:
    """The CA is told the new reason too: `confirmed_at` is empty until it was. The time of revocation stays the first."""
    if earlier.reason == reason and not _is_placed_again(earlier, authority):
        return earlier
    if reason is not COMPROMISE and earlier.reason != HOLD:
        more = "Nothing more is needed." if earlier.reason == COMPROMISE else "Only keyCompromise may be added later."
        raise Conflict(f"{row.cert_id} is revoked already, as {earlier.reason}.", field="reason", next_step=more)
    before = earlier.reason
    earlier.reason, earlier.confirmed_at, earlier.tries = str(reason), None, 0
    earlier.invalidity_date, earlier.comment = invalidity_date or earlier.invalidity_date, comment or earlier.comment
    earlier.release_requested_at, earlier.release_requested_by = None, ""
    earlier.by_security_team = reason is HOLD and (earlier.by_security_team or authority.is_officer)
    earlier.save()
    Certificate.objects.filter(pk=row.pk).update(status_version=F("status_version") + 1)
    note_for_digest(Topic.REVOKED, [row], now=now)
    data = {"cert_id": row.cert_id, "reason": str(reason), "earlier_reason": before} | _terms(earlier)
    record(EventType.CERTIFICATE_REVOCATION_REQUESTED, subject=f"certificate:{row.cert_id}", actor=authority.actor, at=now, data=data)
    return earlier


def _terms(revocation: Revocation) -> dict[str, Value]:
    """What else the event says, so that `verify_states` finds a date or the owner of a hold that SQL changed."""
    date = revocation.invalidity_date
    return {"invalidity_date": date.astimezone(UTC).isoformat() if date else "", "by_security_team": revocation.by_security_team}


def _is_placed_again(hold: Revocation, authority: Authority) -> bool:
    """Whether asking for the same hold changes it: it is on its way to be released, or it becomes the security team's."""
    if hold.reason != HOLD:
        return False
    return hold.release_requested_at is not None or (authority.is_officer and not hold.by_security_team)


@transaction.atomic
def request_release(certificate: Certificate, *, authority: Authority, begin: bool = True) -> Revocation:
    """Take a hold back. It stays revoked until its CA has confirmed that; from any other reason there is no way back.

    Raises NotFound, NotPermitted also where the security team placed the hold and the actor is no officer, Conflict.
    Asking again answers the release there is.
    """
    authority.check_may_act(certificate)
    Certificate.objects.select_for_update().get(pk=certificate.pk)
    revocation = Revocation.objects.select_for_update().filter(certificate=certificate).first()
    if revocation is None or revocation.released_at is not None:
        raise Conflict(f"{certificate.cert_id} is not on hold.", field="cert_id", next_step="There is nothing to release.")
    if revocation.reason != HOLD:
        raise Conflict(
            f"{certificate.cert_id} is revoked as {revocation.reason}, and that is final.",
            field="cert_id",
            next_step="Ask for a new certificate; only a hold can be released.",
        )
    if revocation.by_security_team and not authority.is_officer:
        raise NotPermitted(
            f"The security team placed this hold on {certificate.cert_id}, so only the security team releases it.",
            field="cert_id",
            next_step="Ask the security team, and say why the hold is no longer needed.",
        )
    if revocation.confirmed_at is None:
        raise Conflict(
            f"{certificate.issuer.name} has not confirmed the hold yet.",
            field="cert_id",
            next_step="Try again once its page shows it as revoked: a late hold must not overtake its release.",
        )
    if revocation.release_requested_at is None:
        now = database_now()
        revocation.release_requested_at, revocation.release_requested_by, revocation.tries = now, authority.actor.name, 0
        revocation.save()
        data = {"cert_id": certificate.cert_id}
        record(
            EventType.CERTIFICATE_RELEASE_REQUESTED, subject=f"certificate:{certificate.cert_id}", actor=authority.actor, at=now, data=data
        )
    if begin:
        transaction.on_commit(begin_telling)
    return revocation


def begin_telling() -> None:
    """Start the task that tells the CAs. Without a broker the sweeper does it."""
    try:
        signature("certs.tasks.process_revocations").apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the revocation waits for the sweeper: %s", exc)
