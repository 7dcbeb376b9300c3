"""Alerts for operators: shown in the portal, mailed once when they open. And the circuit breaker that an alert goes with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.urls import reverse

from audit.events import EventType
from audit.log import record
from certs.access.permissions import Authority, Permission
from certs.enums import AlertKind
from certs.errors import NotPermitted, sentence
from certs.models import Certificate, Issuer, OperatorAlert, QuarantinedCertificate
from certs.notifications.audience import NOBODY, Audience, operators
from certs.notifications.delivery.bundles import Line
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from db.clock import database_now

KEY_KINDS = frozenset({AlertKind.KEY_CLAIMED, AlertKind.KEY_BLOCKED, AlertKind.AUTHORITY_KEY_EXPOSED, AlertKind.KEY_UNBLOCKED})
# What comes back within this time is the same trouble. It has had its mail.
REOPEN = timedelta(minutes=10)
# Between two trials of work that failed: doubled after each.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=7.5), timedelta(minutes=2)
# Alerts that are open exactly while something is away, with its name in reports. Operators are
# notified of their end, unless it was longer than FORGOTTEN ago.
OUTAGES = {
    AlertKind.CA_UNAVAILABLE: "CA",
    AlertKind.CA_STOPPED: "CA, stopped",
    AlertKind.KEYS_UNAVAILABLE: "Key backend",
}
FORGOTTEN = timedelta(days=1)


def raise_alert(
    *,
    kind: AlertKind,
    cause: str,
    message: str,
    next_step: str,
    now: datetime,
    also_to: Audience = NOBODY,
    bundle: Callable[[str], Line] | None = None,
) -> None:
    """Open an alert, or count up the one that is open for the same cause. Needs an open transaction.

    With a `bundle` the mails of many such alerts at once are one: it makes the alert's line in that
    mail from the path of the alert's page.

    An alert that the portal closed less than REOPEN ago for the same cause is opened again, without a
    second mail. The mail shares the transaction; it goes to the operators and to `also_to`.
    """
    message = sentence(message)  # pages and mails go on with the next step
    if _continue(kind, cause, message=message, now=now):
        return
    alert, opened = OperatorAlert.objects.select_for_update().get_or_create(
        kind=kind,
        cause=cause,
        closed_at=None,
        defaults={
            "message": message[:1000],
            "next_step": next_step[:500],
            "raised_at": now,
            "last_seen_at": now,
        },
    )
    if not opened:  # by another transaction, between the two statements
        _continue(kind, cause, message=message, now=now)
        return
    notify(
        Topic.MACHINERY,
        key=f"alert:{alert.pk}",
        audience=operators() | also_to,
        subject=alert.title,
        template="alert",
        context={"alert": alert},
        now=now,
        bundle=bundle and bundle(reverse("alert", args=[alert.pk])),
    )


def _continue(kind: AlertKind, cause: str, *, message: str, now: datetime) -> bool:
    """Count up the alert that is open for the cause, or was until REOPEN ago. Returns whether there
    is one. An alert that a person closed is over.
    """
    same = Q(closed_at=None) | Q(closed_by=None, closed_at__gt=now - REOPEN)
    rows = OperatorAlert.objects.select_for_update(of=("self",)).filter(same, kind=kind, cause=cause)
    alert = rows.order_by(F("closed_at").desc(nulls_first=True)).first()
    if alert is None:
        return False
    if alert.closed_at is not None:
        alert.closed_at, alert.tried_at, alert.trials = None, None, 0
    alert.occurrences, alert.last_seen_at, alert.message = F("occurrences") + 1, now, message[:1000]
    alert.save()
    return True


def open_alert(kind: AlertKind, cause: str) -> OperatorAlert | None:
    """Return the open alert for the cause."""
    return OperatorAlert.objects.filter(kind=kind, cause=cause, closed_at=None).first()


def may_try(kind: AlertKind, cause: str, *, now: datetime) -> int | None:
    """Decide whether the work that an alert is about is tried again now: with growing pauses.

    Returns the number of trials before this one, or None while it is too early. Without an open
    alert no pause is needed: 0. One UPDATE decides between two workers.
    """
    alert = open_alert(kind, cause)
    if alert is None:
        return 0
    pause = min(FIRST_PAUSE * 2**alert.trials, LONGEST_PAUSE) if alert.tried_at else timedelta()
    if alert.tried_at is not None and now < alert.tried_at + pause:
        return None
    mine = OperatorAlert.objects.filter(pk=alert.pk, trials=alert.trials, closed_at=None)
    return alert.trials if mine.update(trials=F("trials") + 1, tried_at=now) else None


@transaction.atomic
def notify_ends(now: datetime) -> int:
    """Notify the operators of outages that are over. Returns the number of notices.

    Waits REOPEN after the end, so that an outage that comes back is no second one.
    """
    over = OperatorAlert.objects.select_for_update(of=("self",), skip_locked=True).filter(
        kind__in=OUTAGES,
        closed_by=None,
        closed_at__range=(now - FORGOTTEN, now - REOPEN),
        end_notified_at=None,
    )
    alerts = list(over.order_by("pk"))
    for alert in alerts:
        alert.end_notified_at = now
        alert.save(update_fields=["end_notified_at"])
        name = alert.cause.partition(":")[2]
        notify(
            Topic.MACHINERY,
            key=f"alert:{alert.pk}:over",
            audience=operators(),
            subject=f"Works again: {name}",
            template="alert_over",
            context={"alert": alert, "name": name},
            now=now,
        )
    return len(alerts)


def close_alerts(*, kind: AlertKind, cause: str, now: datetime) -> int:
    """Close the open alert for a cause that is over. Returns how many were open."""
    return OperatorAlert.objects.filter(kind=kind, cause=cause, closed_at__isnull=True).update(closed_at=now)


def may_close(alert: OperatorAlert | None, authority: Authority) -> bool:
    """Return whether the actor may close it: operators; what is about a key also those who decide about keys."""
    about_a_key = alert is not None and alert.kind in KEY_KINDS
    return authority.holds(Permission.OPERATE) or (about_a_key and authority.may_decide_keys)


def settled_key_alerts(*, most: int, now: datetime) -> list[int]:
    """Return ids of open alerts about blocked keys on which no valid certificate is left, the oldest first."""
    rows = OperatorAlert.objects.filter(kind=AlertKind.KEY_BLOCKED, closed_at__isnull=True).order_by("pk")
    causes = list(rows.values_list("pk", "cause")[:most])
    keys = [cause.removeprefix(key_cause("")) for _, cause in causes]
    valid = Certificate.objects.filter(spki_sha256__in=keys, status=Certificate.Status.GOOD, not_after__gt=now)
    used = {key_cause(spki) for spki in valid.values_list("spki_sha256", flat=True)}
    return [pk for pk, cause in causes if cause not in used]


@transaction.atomic
def close_by_hand(pk: int, *, authority: Authority) -> bool:
    """Close an alert that a person has dealt with. Returns whether it was open. The audit log has the person.

    Raises NotPermitted unless `may_close` allows it.
    """
    now = database_now()
    alert = OperatorAlert.objects.select_for_update().filter(pk=pk, closed_at__isnull=True).first()
    if not may_close(alert, authority):
        raise NotPermitted(
            "Only operators close alerts.",
            next_step="Report to an operator what you have done about it.",
            permission=Permission.OPERATE,
        )
    if alert is None:
        return False
    alert.closed_at, alert.closed_by = now, authority.user
    alert.save(update_fields=["closed_at", "closed_by"])
    record(EventType.ALERT_CLOSED, subject=f"alert:{pk}", actor=authority.actor, at=now, data={"kind": alert.kind, "cause": alert.cause})
    return True


def ca_cause(issuer: Issuer) -> str:
    """Return the cause of alerts about a CA."""
    return f"ca:{issuer.name}"


def key_cause(spki: str) -> str:
    """Return the cause of alerts about a public key, by its SPKI SHA-256."""
    return f"key:{spki}"


def quarantine_cause(pk: int) -> str:
    """Return the cause of the alert about a quarantined certificate that could not be revoked."""
    return f"quarantine:{pk}"


def webhook_cause(pk: int) -> str:
    """Return the cause of the alert about a webhook that was disabled."""
    return f"webhook:{pk}"


def open_circuit(issuer: Issuer, reason: str, *, next_step: str, now: datetime) -> None:
    """Stop sending orders to a CA and alert the operators. Needs an open transaction, which also
    stores the quarantined certificate that is the reason.
    """
    # Written also where the circuit is open already: `close_circuit` compares this time, so a
    # close that was decided before this mismatch changes nothing.
    Issuer.objects.filter(pk=issuer.pk).update(circuit_opened_at=now, circuit_reason=reason[:300])
    raise_alert(
        kind=AlertKind.CA_STOPPED,
        cause=ca_cause(issuer),
        message=f"{issuer.name} was stopped: {reason}",
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
        close_alerts(kind=AlertKind.CA_STOPPED, cause=ca_cause(issuer), now=now)
    return bool(closed)
