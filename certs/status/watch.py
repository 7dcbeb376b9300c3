"""The watch over status information: alerts before a CRL, a responder or an own CA runs out."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from certs.ca.lifetime import end_of, has_ended
from certs.ca.local.ocsp_responder import newest_responder
from certs.enums import AlertKind
from certs.models import CRLPoint, Issuer
from certs.notifications.alerts import ca_cause, close_alerts, raise_alert
from certs.status.crl import changed, points_of
from certs.status.ends import watch_end
from certs.status.isolation import Failures
from certs.status.publishing import ALARM_BEFORE, crl_cause, own_issuing_cas, own_roots
from db.clock import database_now

ROOT_ALARM_BEFORE = timedelta(days=30)


def watch() -> None:
    """Raise or close the alerts of every own CA, each CA alone.

    A CRL or a responder is late a day before its end, a root's CRL, which no worker can make, a
    month before.
    """
    now = database_now()
    for issuer in [*own_issuing_cas(), *own_roots()]:
        # A cause of its own: the alert must not be closed by a maintenance run that worked.
        failures = Failures(issuer.name, f"watch:{issuer.name}")
        with failures.caught("watch for the end of the CA"):
            watch_end(issuer, now=now)
        with failures.caught("watch for late CRLs and responders"):
            _watch_lateness(issuer, now=now)
        failures.report()


def _watch_lateness(issuer: Issuer, *, now: datetime) -> None:
    root = not issuer.alias
    if has_ended(issuer, now=now):
        _close_lateness(issuer, now=now)
        return
    # Near the CA's end nothing can last longer than the CA: that is not late.
    before = ROOT_ALARM_BEFORE if root else ALARM_BEFORE
    needed_until = min(now + before, end_of(issuer))
    for point in points_of(issuer):
        if point.published is None or point.published.next_update < needed_until:
            _alert_late(point, root=root, now=now)
        else:
            close_alerts(kind=AlertKind.CRL_LATE, cause=crl_cause(point), now=now)
    if root:
        _watch_root(issuer, now=now)
    else:
        _watch_responder(issuer, needed_until=needed_until, now=now)


def _close_lateness(issuer: Issuer, *, now: datetime) -> None:
    """Close what nobody can mend any more; the alert on the CA's end stays."""
    for point in points_of(issuer):
        close_alerts(kind=AlertKind.CRL_LATE, cause=crl_cause(point), now=now)
    for kind in (AlertKind.ROOT_CRL_BEHIND, AlertKind.RESPONDER_LATE):
        close_alerts(kind=kind, cause=ca_cause(issuer), now=now)


@transaction.atomic
def _alert_late(point: CRLPoint, *, root: bool, now: datetime) -> None:
    published = point.published
    ends = f"ends {published.next_update.day} {published.next_update:%b %Y %H:%M} UTC" if published else "was never made"
    by_person = f"Bring the root's key online and run `manage.py publish_crl --issuer {point.issuer.slug}`."
    by_worker = "Is a worker of the queue `ca` running, and does the CA's key backend answer? Then a new CRL is published automatically."
    raise_alert(
        kind=AlertKind.CRL_LATE,
        cause=crl_cause(point),
        message=f"The CRL of {point} {ends} and no newer one is published.",
        next_step=by_person if root else by_worker,
        now=now,
    )


@transaction.atomic
def _watch_root(root: Issuer, *, now: datetime) -> None:
    """Alert while the root's CRL does not list a distrusted CA: no worker can sign that CRL."""
    if not any(changed(point) for point in points_of(root)):
        close_alerts(kind=AlertKind.ROOT_CRL_BEHIND, cause=ca_cause(root), now=now)
        return
    raise_alert(
        kind=AlertKind.ROOT_CRL_BEHIND,
        cause=ca_cause(root),
        message=f"The CRL of {root.name} does not say yet that a CA beneath it is revoked: relying parties still trust that CA.",
        next_step=f"Bring the root's key online and run `manage.py publish_crl --issuer {root.slug}`.",
        now=now,
    )


@transaction.atomic
def _watch_responder(issuer: Issuer, *, needed_until: datetime, now: datetime) -> None:
    newest = newest_responder(issuer)
    if newest is not None and newest.not_after >= needed_until:
        close_alerts(kind=AlertKind.RESPONDER_LATE, cause=ca_cause(issuer), now=now)
        return
    raise_alert(
        kind=AlertKind.RESPONDER_LATE,
        cause=ca_cause(issuer),
        message=f"The OCSP responder of {issuer.name} has no certificate for the next 24 hours.",
        next_step="Is a worker of the queue `ca` running, and may it make keys in "
        "PKI_OCSP_KEY_BACKEND? Then a new one is made automatically.",
        now=now,
    )
