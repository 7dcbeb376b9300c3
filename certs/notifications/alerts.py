"""Alerts for operators: shown in the portal, mailed once when they open. And the circuit breaker that an alert goes with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef

from audit.clock import database_now
from audit.events import EventType
from audit.log import record
from certs.access.permissions import Authority, Permission
from certs.errors import NotPermitted
from certs.models import Issuer, OperatorAlert, QuarantinedCertificate
from certs.notifications.mail import write_mail


def raise_alert(
    *,
    kind: str,
    cause: str,
    message: str,
    next_step: str,
    now: datetime,
    also_to: Sequence[str] = (),
) -> None:
    """Open an alert, or count up the one that is open for the same cause. Needs an open transaction.

    The mail shares that transaction; it goes to the operators and to the addresses in `also_to`.
    """
    alert, opened = OperatorAlert.objects.select_for_update().get_or_create(
        kind=kind,
        cause=cause,
        closed_at=None,
        defaults={"message": message[:1000], "next_step": next_step[:500], "raised_at": now, "last_seen_at": now},
    )
    if not opened:
        OperatorAlert.objects.filter(pk=alert.pk).update(occurrences=F("occurrences") + 1, last_seen_at=now, message=message[:1000])
        return
    write_mail(
        dedup_key=f"alert:{alert.pk}",
        to=sorted({*settings.PKI_OPERATOR_EMAILS, *also_to}),
        subject=f"[PKI Portal] {message}",
        template="alert",
        context={"alert": alert, "base_url": settings.PKI_PORTAL_URL},
        now=now,
    )


def close_alerts(*, kind: str, cause: str, now: datetime) -> int:
    """Close what the alert was about, once it is over; answers how many were open."""
    return OperatorAlert.objects.filter(kind=kind, cause=cause, closed_at__isnull=True).update(closed_at=now)


@transaction.atomic
def close_by_hand(pk: int, *, authority: Authority) -> bool:
    """Close an alert that a person has dealt with. Returns whether it was open. Who said so is on record.

    Raises NotPermitted unless the actor may operate the portal.
    """
    if not authority.holds(Permission.OPERATE):
        raise NotPermitted("Only operators close alerts.", next_step="Tell an operator what you have done about it.")
    now = database_now()
    alert = OperatorAlert.objects.select_for_update().filter(pk=pk, closed_at__isnull=True).first()
    if alert is None:
        return False
    alert.closed_at, alert.closed_by = now, authority.user
    alert.save(update_fields=["closed_at", "closed_by"])
    record(EventType.ALERT_CLOSED, subject=f"alert:{pk}", actor=authority.actor, at=now, data={"kind": alert.kind, "cause": alert.cause})
    return True


def ca_cause(issuer: Issuer) -> str:
    return f"ca:{issuer.name}"


def open_circuit(issuer: Issuer, reason: str, *, next_step: str, now: datetime) -> None:
    """Stop sending orders to a CA and alert the operators. Needs an open transaction, which also
    stores the quarantined certificate that is the reason.
    """
    # Written also where the circuit is open already: `close_circuit` compares this time, so a
    # close that was decided before this mismatch changes nothing.
    Issuer.objects.filter(pk=issuer.pk).update(circuit_opened_at=now, circuit_reason=reason[:300])
    raise_alert(
        kind="ca_stopped",
        cause=ca_cause(issuer),
        message=f"{issuer.name} was stopped: {reason}.",
        next_step=next_step,
        now=now,
    )


def close_circuit(issuer: Issuer, *, now: datetime) -> bool:
    """Let orders go to a CA again, unless a quarantined certificate is not settled or the circuit
    was opened again since `issuer` was read. One conditional UPDATE decides. Needs an open
    transaction. Returns whether the circuit was closed.
    """
    unsettled = QuarantinedCertificate.objects.filter(issuer=OuterRef("pk"), revoked_at=None)
    same = Issuer.objects.filter(pk=issuer.pk, circuit_opened_at=issuer.circuit_opened_at)
    closed = same.filter(~Exists(unsettled)).update(circuit_opened_at=None, circuit_reason="")
    if closed:
        close_alerts(kind="ca_stopped", cause=ca_cause(issuer), now=now)
    return bool(closed)
