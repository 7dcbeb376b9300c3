"""Alerts for certificates that end or have ended and that nothing replaces, one for each team.

They open at night, with their mail, and close within a minute of what settles them. A certificate
that joins an open alert is in the reminders of the same night (`certs.renewal.reminders`), which go
to the operators too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, QuerySet

from certs.enums import AlertKind
from certs.inventory.states import states_of
from certs.models import Certificate, OperatorAlert, Team
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.wording import count_of, day, name_of, read_names
from certs.renewal.attention import unreplaced
from db.clock import database_now

LAST_DAYS = 7  # from here on operators are alerted to what is not renewed
LOOK_BACK = timedelta(days=30)  # an expiry is found that late after an outage of the portal
NAMED = 10  # certificates that a message names


def keep_expiry_alerts(*, now: datetime) -> None:
    """Open, renew and close the alerts `expiring` and `expired` of each team.

    `expired` stays open until each of its certificates was replaced or revoked, its renewal was
    switched off, or a person closed the alert: that settles what had expired by then.
    """
    for team in Team.objects.order_by("pk"):
        _keep_expiring(team, _ending_since(now, team, now=now), now=now)
        _keep_expired(team, now=now)


def close_settled() -> int:
    """Close the open alerts of which every certificate was replaced or revoked, or its renewal switched off. Returns how many.

    Between two nights, so that nobody looks after what somebody has done. Opens none, and changes no
    message. Without an open alert it is one query; else a few for each team that has one.
    """
    now, closed = database_now(), 0
    alerts = OperatorAlert.objects.filter(kind__in=(AlertKind.EXPIRING, AlertKind.EXPIRED), closed_at=None)
    found = list(alerts)
    if not found:
        return 0
    slugs = {alert.cause.partition(":")[2] for alert in found}
    teams = {_cause(team): team for team in Team.objects.filter(slug__in=slugs)}
    for alert in found:
        team = teams.get(alert.cause)
        if team is None:
            continue
        # What has ended since the night is no reason to close: `expired` opens in the next one.
        seen = alert.last_seen_at
        rows = _ending_since(seen, team, now=now) if alert.kind == AlertKind.EXPIRING else _ended_of(team, now=now)
        if not any(unreplaced(rows, now=now)):
            # Not where the night's run has found something else in the meantime.
            closed += alerts.filter(pk=alert.pk, last_seen_at=seen).update(closed_at=now)
    return closed


def _ending_since(moment: datetime, team: Team, *, now: datetime) -> QuerySet[Certificate]:
    """Return certificates of the team that are due and end after a moment and within LAST_DAYS."""
    ending = Certificate.objects.filter(not_after__gt=moment, not_after__lte=now + timedelta(days=LAST_DAYS), alert_at__lte=now)
    return ending.filter(team=team, renewal_off_reason="")


@transaction.atomic
def _keep_expiring(team: Team, rows: QuerySet[Certificate], *, now: datetime) -> None:
    count, named = _count(rows, now)
    if not count:
        close_alerts(kind=AlertKind.EXPIRING, cause=_cause(team), now=now)
        return
    raise_alert(
        kind=AlertKind.EXPIRING,
        cause=_cause(team),
        message=f"Ending within {LAST_DAYS} days and not renewed: {_names(named, count)} (team {team.name}). {_ending(named, now)}.",
        next_step="Their pages name what is missing: an approval, a new CSR, or a content that the policy allows.",
        now=now,
    )


def _ended_of(team: Team, *, now: datetime) -> QuerySet[Certificate]:
    """Return certificates of the team that have ended and that no person has settled by closing an alert."""
    alerts = OperatorAlert.objects.filter(kind=AlertKind.EXPIRED, cause=_cause(team))
    # From the opening of the alert, not from today: one that stays open for months would forget the certificates that it names.
    opened = alerts.filter(closed_at__isnull=True).values_list("raised_at", flat=True).first()
    settled = alerts.filter(closed_by__isnull=False).aggregate(last=Max("closed_at"))["last"]
    since = (opened or now) - LOOK_BACK
    ended = Certificate.objects.filter(not_after__lte=now, not_after__gt=max(since, settled) if settled else since)
    return ended.filter(team=team, renewal_off_reason="")


@transaction.atomic
def _keep_expired(team: Team, *, now: datetime) -> None:
    count, named = _count(_ended_of(team, now=now), now)
    if not count:
        close_alerts(kind=AlertKind.EXPIRED, cause=_cause(team), now=now)
        return
    raise_alert(
        kind=AlertKind.EXPIRED,
        cause=_cause(team),
        message=f"Expired and not replaced: {_names(named, count)} (team {team.name}). {_ended(named)}.",
        next_step="Request new certificates for their names. If a name is no longer used, switch the renewal of its "
        "certificate off, or close this alert.",
        now=now,
    )


def _cause(team: Team) -> str:
    return f"team:{team.slug}"


def _count(rows: QuerySet[Certificate], now: datetime) -> tuple[int, list[Certificate]]:
    """Return how many need attention, and those with the nearest ends."""
    count, named = 0, list[Certificate]()
    for page in unreplaced(rows, now=now):
        count += len(page)
        named += [one.certificate for one in page[: NAMED - len(named)]]
    read_names(named)
    return count, named


def _names(certificates: list[Certificate], count: int) -> str:
    return count_of([name_of(one) for one in certificates], count)


def _ending(certificates: list[Certificate], now: datetime) -> str:
    states = states_of([one.pk for one in certificates], now)
    return "; ".join(f"{name_of(one)} ends on {day(one.not_after)} ({states[one.pk].label})" for one in certificates)


def _ended(certificates: list[Certificate]) -> str:
    return "; ".join(f"{name_of(one)} ended on {day(one.not_after)}" for one in certificates)
