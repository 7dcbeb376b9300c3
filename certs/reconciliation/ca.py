"""Compare each CA, daily, with the inventory: certificates that the portal does not know, and revocations that it did not request.

An unknown certificate becomes a row and an alert, and a person settles it. What was revoked at the CA is revoked here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, record
from certs.access.permissions import Authority
from certs.ca.base import CAClient, CAUnreachable, NotDoneYet, RevocationOrder, RevokedThere
from certs.ca.registry import get_ca_client
from certs.enums import AlertKind, RevocationReason
from certs.errors import Conflict, NotFound
from certs.inventory.states import listed_state, with_state
from certs.models import Certificate, CertificateRequest, Issuer, QuarantinedCertificate, UnknownCertificate
from certs.notifications.alerts import ca_cause, close_alerts, close_circuit, quarantine_cause, raise_alert
from certs.notifications.wording import so_many
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.requests.states import WORKER
from certs.revocation.request import request_revocation, start_delivery
from db.clock import database_now
from keys.spec import spki_sha256

GRACE = timedelta(hours=1)  # a certificate this young may still be on its way into the inventory
NAMED = 3  # serial numbers in an alert; all are in the admin and in the result
RECONCILER = Actor("system", "reconcile_ca")


def reconcile_ca(issuer: Issuer) -> dict[str, Any]:
    """Return what the CA has that the portal does not know, and what it revoked without the portal.

    Raises nothing: the result names a CA that does not answer, or stops in the middle, and keeps what was found until then.
    """
    logged: dict[str, Any] = {"issuer": issuer.name, "listed": True, "found": [], "revoked": []}
    now = database_now()
    try:
        client = get_ca_client(issuer.alias)
        _look_for_unknown(client, issuer, logged, now=now)
        _look_for_revoked(client, issuer, logged, now=now)
    except CAUnreachable as exc:
        logged |= {"listed": False, "error": f"{issuer.name} does not answer: {exc}"}
    except ImproperlyConfigured as exc:
        logged |= {"listed": False, "error": str(exc)}
    if logged["revoked"]:
        start_delivery()
    _alarm_unknown(issuer, now=now)
    _alarm_revoked(issuer, logged["revoked"], now=now)
    return logged


def _look_for_unknown(client: CAClient, issuer: Issuer, logged: dict[str, Any], *, now: datetime) -> None:
    unknown = client.unknown_certificates()
    if unknown is None:
        logged |= {"listed": False, "note": "This CA cannot list what it issued."}
        return
    for der in unknown:
        row = _found(issuer, der, now=now)
        if row is not None:
            logged["found"].append(row.serial_number)


def _look_for_revoked(client: CAClient, issuer: Issuer, logged: dict[str, Any], *, now: datetime) -> None:
    for there in client.revoked_certificates() or ():
        cert_id = _revoked_too(issuer, there, now=now)
        if cert_id is not None:
            logged["revoked"].append(cert_id)


@transaction.atomic
def _found(issuer: Issuer, der: bytes, *, now: datetime) -> UnknownCertificate | None:
    """Return the row of an unknown certificate, unless a person has settled it.

    An expired certificate is harmless, and a new one may still be on its way to the portal.
    """
    certificate = x509.load_der_x509_certificate(der)
    if certificate.not_valid_before_utc > now - GRACE or certificate.not_valid_after_utc < now:
        return None
    serial = f"{certificate.serial_number:x}"
    row, first = UnknownCertificate.objects.get_or_create(
        issuer=issuer,
        serial_number=serial,
        defaults={
            "der": der,
            "subject": certificate.subject.rfc4514_string()[:300],
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
            "found_at": now,
        },
    )
    if first:
        record(EventType.CERTIFICATE_FOUND, subject=f"issuer:{issuer.slug}", actor=WORKER, at=now, data={"serial_number": serial})
    return row if row.settled_at is None else None


def _alarm_unknown(issuer: Issuer, *, now: datetime) -> None:
    """Raise one alert for what one run found, however much that was; a later find opens, and mails, another."""
    open_ones = UnknownCertificate.objects.filter(issuer=issuer, settled_at__isnull=True)
    for found_at in open_ones.order_by("found_at").values_list("found_at", flat=True).distinct():
        together = open_ones.filter(found_at=found_at).order_by("pk")
        count, first = together.count(), list(together[:NAMED])
        orders = _orders_of(issuer, first)
        named = "; ".join(f"serial {row.serial_number}, {row.subject}{orders.get(row.pk, '')}" for row in first)
        what = "a certificate" if count == 1 else f"{count} certificates"
        with transaction.atomic():
            raise_alert(
                kind=AlertKind.UNKNOWN_CERTIFICATE,
                cause=_cause(issuer, found_at),
                message=f"{issuer.name} issued {what} without a record here: {named}{' and more' if count > NAMED else ''}.",
                next_step="Find out who ordered it. If nobody did: `manage.py reconcile_ca --revoke SERIAL --because ...`, and look for "
                "who can use the CA's key. If it is in order: `--settle SERIAL --because ...`.",
                now=now,
            )


def _orders_of(issuer: Issuer, rows: Sequence[UnknownCertificate]) -> dict[int, str]:
    """Return which request ordered each certificate, as text: the newest at that CA with its public key."""
    keys = {row.pk: _key_of(bytes(row.der)) for row in rows}
    found = CertificateRequest.objects.filter(issuer=issuer, spki_sha256__in=set(keys.values()) - {""}).order_by("pk")
    by_key = {request.spki_sha256: request for request in found}
    return {pk: f", ordered by {by_key[key].public_id} ({by_key[key].state})" for pk, key in keys.items() if key in by_key}


def _key_of(der: bytes) -> str:
    try:
        return spki_sha256(x509.load_der_x509_certificate(der).public_key())
    except (ValueError, UnsupportedAlgorithm):
        return ""


def _cause(issuer: Issuer, found_at: datetime) -> str:
    return f"{ca_cause(issuer)}:{found_at.isoformat()}"[:128]


def _revoked_too(issuer: Issuer, there: RevokedThere, *, now: datetime) -> str | None:
    """Return the id of the certificate that this call revoked; None where it has expired or was revoked in the meantime."""
    serial = f"{there.serial_number:x}"
    certificate = Certificate.objects.filter(issuer=issuer, serial_number=serial, status=Certificate.Status.GOOD, not_after__gt=now).first()
    if certificate is None:
        return None
    comment = f"Found revoked at {issuer.name}, since {there.revoked_at:%Y-%m-%d %H:%M} UTC."
    for reason in (there.reason, RevocationReason.UNSPECIFIED):  # the latter where that CA's hold is final for us
        try:
            request_revocation(
                certificate, reason=reason, authority=Authority(RECONCILER), invalidity_date=there.revoked_at, comment=comment, begin=False
            )
        except Conflict:
            continue
        return certificate.cert_id
    return None


@transaction.atomic
def _alarm_revoked(issuer: Issuer, cert_ids: list[str], *, now: datetime) -> None:
    if not cert_ids:
        return
    rows = with_state(Certificate.objects.filter(cert_id__in=cert_ids[:NAMED]).order_by("pk"), now)
    named = ", ".join(f"{row.cert_id} ({listed_state(row).label})" for row in rows)
    named += " and more" if len(cert_ids) > NAMED else ""
    raise_alert(
        kind=AlertKind.REVOKED_ELSEWHERE,
        cause=_cause(issuer, now),
        message=f"{issuer.name} has revoked {so_many(len(cert_ids), 'certificate')} that the portal had not: {named}.",
        next_step="They are revoked here too. Ask who revoked them and why; if a key is compromised, revoke as keyCompromise once more.",
        now=now,
    )


def settle_unknown(serial: str, settlement: str, *, actor: Actor) -> None:
    """Record that a person has found out where a certificate came from, or had it revoked: one
    that `reconcile_ca` found, or one that a CA sent in place of another and that is in quarantine.
    With the last one in quarantine orders go to the CA again. Raises NotFound, Conflict.
    """
    refuse_secrets(settlement, actor=actor, team="", field="because")
    if not _settle_quarantined(serial, settlement, actor=actor):
        _settle(_unsettled(serial), settlement, actor=actor)


@transaction.atomic
def _settle_quarantined(serial: str, settlement: str, *, actor: Actor) -> bool:
    now = database_now()
    waiting = QuarantinedCertificate.objects.select_for_update(of=("self",)).select_related("issuer", "request")
    rows = list(waiting.filter(serial_number=serial, revoked_at__isnull=True).order_by("pk"))
    for row in rows:
        row.revoked_at, row.revocation_error = now, f"settled: {settlement}"[:500]
        row.save(update_fields=["revoked_at", "revocation_error"])
        data = {"serial_number": serial, "settlement": settlement[:200], "issuer": row.issuer.name}
        record(EventType.CA_RECONCILED, subject=row.request.subject, actor=actor, at=now, data=data)
        close_alerts(kind=AlertKind.QUARANTINE_NOT_REVOKED, cause=quarantine_cause(row.pk), now=now)
    for issuer in Issuer.objects.filter(pk__in={row.issuer_id for row in rows}):
        close_circuit(issuer, now=now)
    return bool(rows)


def revoke_unknown(serial: str, because: str, *, actor: Actor) -> UnknownCertificate:
    """Revoke a certificate that nobody ordered at its CA, and settle it. Raises NotFound; Conflict where the CA cannot be reached."""
    refuse_secrets(because, actor=actor, team="", field="because")
    row = _unsettled(serial)
    recorded = Certificate.objects.filter(issuer=row.issuer, serial_number=serial).first()
    if recorded is not None:
        raise Conflict(
            f"The certificate {serial} is on record by now, as {recorded.cert_id}.",
            next_step=f"Settle it; or revoke it with `manage.py revoke {recorded.cert_id}`.",
        )
    order = RevocationOrder(int(serial, 16), RevocationReason.UNSPECIFIED, database_now(), bytes(row.der))
    try:
        get_ca_client(row.issuer.alias).revoke(order)
    except NotDoneYet as exc:
        raise Conflict(
            f"{row.issuer.name} has accepted the revocation and has not done it yet.",
            next_step="Do the same again in a minute: it is settled once the CA has done it.",
        ) from exc
    except (CAUnreachable, ImproperlyConfigured) as exc:
        raise Conflict(
            f"{row.issuer.name} could not revoke it: {exc}",
            next_step="Try again once the CA works, or revoke the certificate there by hand.",
        ) from exc
    return _settle(row, f"revoked: {because}", actor=actor)


def _unsettled(serial: str) -> UnknownCertificate:
    found = list(UnknownCertificate.objects.select_related("issuer").filter(serial_number=serial)[:2])
    if not found:
        raise NotFound(f"No unknown certificate has the serial number {serial}.", next_step="Copy it from the result of reconcile_ca.")
    (row, *others) = found
    if others or row.settled_at is not None:
        raise Conflict(f"{serial} is settled already, or two CAs gave that serial number.", next_step="Look at it in the admin.")
    return row


@transaction.atomic
def _settle(row: UnknownCertificate, settlement: str, *, actor: Actor) -> UnknownCertificate:
    """Compare and set, with its event; the alarm closes with the last of what was found together."""
    now = database_now()
    if not UnknownCertificate.objects.filter(pk=row.pk, settled_at__isnull=True).update(settled_at=now, settlement=settlement[:200]):
        raise Conflict(f"{row.serial_number} is settled already.", next_step="Look at it in the admin.")
    row.settled_at, row.settlement = now, settlement[:200]
    data = {"serial_number": row.serial_number, "settlement": row.settlement}
    record(EventType.CA_RECONCILED, subject=f"issuer:{row.issuer.slug}", actor=actor, at=now, data=data)
    if not UnknownCertificate.objects.filter(issuer=row.issuer, found_at=row.found_at, settled_at__isnull=True).exists():
        close_alerts(kind=AlertKind.UNKNOWN_CERTIFICATE, cause=_cause(row.issuer, row.found_at), now=now)
    return row
