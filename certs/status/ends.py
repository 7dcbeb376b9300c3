"""The end of an own CA: nothing that it signs outlives it, so people must replace it in time."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from certs.ca.lifetime import end_of
from certs.enums import AlertKind
from certs.models import Issuer, OperatorAlert
from certs.notifications.alerts import close_alerts, raise_alert

STAGES = (365, 90, 30, 7, 0)  # days before the end; each stage is an alert and a mail of its own


def stage_of(issuer: Issuer, *, now: datetime) -> int | None:
    """Return the stage that an own CA has reached, None for a CA that needs no replacement.

    A CA that another has replaced, or that is distrusted, may end without an alert.
    """
    replaced = issuer.successor_id is not None or issuer.state == Issuer.State.DISTRUSTED
    left = end_of(issuer) - now
    reached = [days for days in STAGES if left <= timedelta(days=days)]
    return None if replaced or not reached else min(reached)


@transaction.atomic
def watch_end(issuer: Issuer, *, now: datetime) -> None:
    """Raise the alert of the stage reached and close those of the stages before.

    An alert that a person closed by hand was read: it stays closed until the next stage.
    """
    reached = stage_of(issuer, now=now)
    for days in STAGES:
        if days != reached:
            close_alerts(kind=AlertKind.CA_ENDS, cause=_cause(issuer, days), now=now)
    if reached is None or _was_closed_by_hand(issuer, reached):
        return
    raise_alert(
        kind=AlertKind.CA_ENDS,
        cause=_cause(issuer, reached),
        message=_message(issuer, now=now),
        next_step=_next_step(issuer),
        now=now,
    )


def _cause(issuer: Issuer, days: int) -> str:
    return f"ca:{issuer.slug}:{days}"


def _was_closed_by_hand(issuer: Issuer, days: int) -> bool:
    cause = _cause(issuer, days)
    closed = OperatorAlert.objects.filter(kind=AlertKind.CA_ENDS, cause=cause, closed_by__isnull=False)
    return closed.exists()


def _message(issuer: Issuer, *, now: datetime) -> str:
    end = end_of(issuer)
    kind = "issuing CA" if issuer.alias else "root CA"
    if end <= now:
        return (
            f"The {kind} {issuer.name} ended on {end:%d %b %Y %H:%M} UTC. It issues nothing, and "
            "no certificate beneath it is valid any more."
        )
    return (
        f"The {kind} {issuer.name} ends in {(end - now).days} days, on {end:%d %b %Y %H:%M} UTC. No certificate beneath it can last longer."
    )


def _next_step(issuer: Issuer) -> str:
    if issuer.alias:
        return f'Bring the root\'s key online and roll over to a new issuing CA: `manage.py roll_over_ca "{issuer.name}"`.'
    return (
        "Set up a new root with a new issuing CA (another PKI_DEFAULT_CA and `manage.py bootstrap`)"
        " and give the new root to all relying parties before the old one ends."
    )
