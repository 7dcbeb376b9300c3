"""Request revocations and releases: written first, delivered to the CA afterwards, until the CA has confirmed.

From the moment at which the request is written the portal treats the certificate as revoked: no
download, no renewal, and the own CRL and OCSP report it as revoked. `certs.revocation.deliver`
sends it to the CAs.
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
from certs.access.permissions import Authority, Permission
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
    """Request the revocation of a certificate, or another reason for the one that there is.

    The caller has checked that the actor may, and it is checked again behind the lock. With `begin`
    the delivery starts at the commit. A hold by an officer, or by the portal itself, is the security
    team's: only an officer releases it.

    The same request again returns the revocation that there is. Another reason raises Conflict, with
    two exceptions: a hold may become final, and keyCompromise may always be added, also to what is
    superseded or expired, because relying parties must learn it. Any other reason for an expired
    certificate raises Conflict, and so does a hold at a CA that cannot release one.

    Effects: the revocation, status and `status_version` of the certificate, an entry of the digest,
    `certificate:revocation_requested`; after the commit its open renewals are cancelled.
    """
    # 1. Lock the certificate before its revocation, as every writer of both does.
    row = Certificate.objects.select_for_update().get(pk=certificate.pk)
    authority.check_may_act(row)
    now = database_now()
    earlier = Revocation.objects.select_for_update().filter(certificate=row).first()
    current = earlier if earlier is not None and earlier.released_at is None else None
    if current is None or current.reason != reason or _changes_hold(current, authority):
        # 2. Refuse what cannot follow. A certificate has one row of a revocation, so the row of a
        #    released hold is written anew: its earlier content is in the audit log.
        revocation = earlier or Revocation(certificate=row)
        data: dict[str, Value] = {"cert_id": row.cert_id, "reason": str(reason)}
        if current is None:
            check_revocable(row, reason, now=now)
            row.status = Certificate.Status.REVOCATION_PENDING
            revocation.requested_at, revocation.requested_by = now, authority.actor.name
            revocation.invalidity_date, revocation.comment = invalidity_date, comment
            revocation.by_security_team = reason is HOLD and authority.is_officer
            # On no CRL yet. With the number of the earlier hold, the entry of an expired certificate could leave the CRL before
            # any CRL has listed this revocation.
            revocation.released_at = revocation.lease_until = revocation.first_crl_number = None
            revocation.last_error = ""
        else:
            check_may_follow(row, current, reason)
            data["earlier_reason"] = current.reason
            # The time of the revocation stays the first one: CRL and OCSP have reported it.
            revocation.invalidity_date = invalidity_date or current.invalidity_date
            revocation.comment = comment or current.comment
            revocation.by_security_team = reason is HOLD and (current.by_security_team or authority.is_officer)
        # 3. Write it as not confirmed: the CA receives the new reason too. A release under way is taken back, for a final
        #    reason is stronger; `deliver` compares both before it records a confirmation.
        revocation.reason, revocation.confirmed_at, revocation.tries = str(reason), None, 0
        revocation.release_requested_at, revocation.release_requested_by = None, ""
        revocation.save()
        # A new version, by which CRL segments and kept OCSP responses see that this row has changed.
        Certificate.objects.filter(pk=row.pk).update(status=row.status, status_version=F("status_version") + 1)
        note_for_digest(Topic.REVOKED, [row], now=now)
        # In the event too, so that `verify_states` finds a date or a hold's owner that SQL has changed.
        date = revocation.invalidity_date
        data["invalidity_date"] = date.astimezone(UTC).isoformat() if date else ""
        data["by_security_team"] = revocation.by_security_team
        subject = f"certificate:{row.cert_id}"
        record(EventType.CERTIFICATE_REVOCATION_REQUESTED, subject=subject, actor=authority.actor, at=now, data=data)
    else:
        revocation = current
    # 4. After the commit: deliver, and stop what would replace a certificate that nobody may use. Both may be lost in a crash:
    #    the sweeper delivers and cancels too, and a renewal that is recorded late is revoked as it is recorded.
    if begin:
        transaction.on_commit(start_delivery)
    if reason is not RevocationReason.SUPERSEDED:
        transaction.on_commit(lambda: cancel_stopped_renewals(row))
    return revocation


def check_revocable(row: Certificate, reason: RevocationReason, *, now: datetime) -> None:
    """Raise Conflict for a certificate without revocation that cannot be revoked for this reason."""
    # keyCompromise concerns the key, which may have signed things that are relied on after the certificate's end.
    if row.not_after < now and reason is not COMPROMISE:
        raise Conflict(
            f"{row.cert_id} expired on {row.not_after:%Y-%m-%d %H:%M} UTC, so no program relies on it.",
            field="cert_id",
            next_step="Only keyCompromise is recorded for an expired certificate.",
        )
    if reason is HOLD and not capabilities_of(row.issuer.alias).holds:
        raise Conflict(
            f"{row.issuer.name} cannot release a hold, so a hold there would be final.",
            field="reason",
            next_step="Revoke it for another reason, or leave it.",
        )


def check_may_follow(row: Certificate, current: Revocation, reason: RevocationReason) -> None:
    """Raise Conflict where another reason cannot follow the revocation that there is."""
    if reason is COMPROMISE or current.reason == HOLD:
        return
    raise Conflict(
        f"{row.cert_id} is revoked already, as {current.reason}.",
        field="reason",
        next_step="Nothing more is needed." if current.reason == COMPROMISE else "Only keyCompromise may be added later.",
    )


def _changes_hold(hold: Revocation, authority: Authority) -> bool:
    """Return whether the request for a hold changes the hold that there is.

    It does where the hold is being released, or where it becomes the security team's.
    """
    if hold.reason != HOLD:
        return False
    return hold.release_requested_at is not None or (authority.is_officer and not hold.by_security_team)


@transaction.atomic
def request_release(certificate: Certificate, *, authority: Authority, begin: bool = True) -> Revocation:
    """Request the release of a hold. The certificate stays revoked until its CA has confirmed the release.

    The same request again returns the release that there is. Raises NotFound; NotPermitted, also
    where the security team placed the hold and the actor is no officer; Conflict for any other
    reason, which is final, and for a hold that the CA has not confirmed.

    Effects: the revocation, `certificate:release_requested`.
    """
    # Before the lock, so that a person without rights never waits for it; and again behind it, on the team of now.
    authority.check_may_act(certificate)
    authority.check_may_act(Certificate.objects.select_for_update().get(pk=certificate.pk))
    revocation = Revocation.objects.select_for_update().filter(certificate=certificate).first()
    if revocation is None or revocation.released_at is not None:
        raise Conflict(f"{certificate.cert_id} is not on hold.", field="cert_id", next_step="There is nothing to release.")
    if revocation.reason != HOLD:
        raise Conflict(
            f"{certificate.cert_id} is revoked as {revocation.reason}, and that is final.",
            field="cert_id",
            next_step="Request a new certificate; only a hold can be released.",
        )
    if revocation.by_security_team and not authority.is_officer:
        raise NotPermitted(
            f"The security team placed this hold on {certificate.cert_id}, so only the security team releases it.",
            field="cert_id",
            next_step="Ask the security team, with the reason why the hold is no longer needed.",
            permission=Permission.ACT_FOR_EVERY_TEAM,
        )
    # A CA that gets the release first would answer "not revoked", which is success, and then be told of the hold.
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
        transaction.on_commit(start_delivery)
    return revocation


def start_delivery() -> None:
    """Start the task that sends revocations to the CAs. Without a broker the sweeper does it."""
    try:
        signature("certs.tasks.process_revocations").apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the revocation waits for the sweeper: %s", exc)
