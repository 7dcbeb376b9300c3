"""Open alerts as things that wait, each with the page on which it is dealt with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import CharField, QuerySet, Value
from django.db.models.functions import Concat
from django.urls import reverse

from certs.enums import AlertKind
from certs.inbox.matters import Inbox, Kind, Matter, More
from certs.inventory import CertificateFilter, CertificateState, StateGroup, YesNo, open_alerts
from certs.models import OperatorAlert, Team
from certs.notifications.alerts import KEY_KINDS

# Certificates in use are wrong, or nothing is issued, renewed, revoked or verified while these are open.
_URGENT = frozenset(
    {
        *(AlertKind.AUTHORITY_KEY_EXPOSED, AlertKind.KEY_CLAIMED, AlertKind.KEY_BLOCKED, AlertKind.SECRET_PASTED),
        *(AlertKind.CA_UNAVAILABLE, AlertKind.CA_STOPPED, AlertKind.KEYS_UNAVAILABLE),
        *(AlertKind.CRL_LATE, AlertKind.CRL_WITHHELD, AlertKind.STATUS_FAILED, AlertKind.EXPIRED),
        *(AlertKind.VERIFICATION_FAILED, AlertKind.BEAT_DEAD, AlertKind.QUEUE_STUCK),
    }
)


@dataclass(frozen=True, slots=True)
class Way:
    """The page on which an alert is dealt with."""

    label: str
    url: str


def alerts_waiting(*, most: int) -> Inbox:
    """Return the open alerts, those seen last first."""
    found = list(open_alerts()[: most + 1])
    more = (More("All open alerts", reverse("alerts")),) if len(found) > most else ()
    return Inbox(tuple(_matter(alert) for alert in found[:most]), more)


def expired_of(teams: Sequence[Team], *, most: int) -> Inbox:
    """Return what has expired in these teams and nothing replaced, for their members: one line a team.

    The night's check finds it and keeps an alert for each team, so nothing is searched here.
    """
    causes = [f"team:{team.slug}" for team in teams]
    found = open_alerts().filter(kind=AlertKind.EXPIRED, cause__in=causes)[:most]
    return Inbox(tuple(_expired(alert) for alert in found))


def expired_alerts(teams: QuerySet[Team]) -> QuerySet[OperatorAlert]:
    """Return the open alerts that `expired_of` lists, for counting."""
    causes = teams.annotate(cause=Concat(Value("team:"), "slug", output_field=CharField())).values("cause")
    return open_alerts().filter(kind=AlertKind.EXPIRED, cause__in=causes)


def _expired(alert: OperatorAlert) -> Matter:
    way = way_of(alert)
    why = f"{alert.details} Request a new one for each name that is used. If a name is not used any more, switch the renewal off."
    url = way.url if way else reverse("certificates")
    return Matter(Kind.EXPIRED, alert.title, why.strip(), url, "See the certificates", alert.raised_at, is_urgent=True)


def _matter(alert: OperatorAlert) -> Matter:
    seen = f" Seen {alert.occurrences} times." if alert.occurrences > 1 else ""
    return Matter(
        Kind.KEY if alert.kind in KEY_KINDS else Kind.ALERT,
        alert.title,
        f"{alert.details} {alert.next_step}{seen}".strip(),
        reverse("alert", args=[alert.pk]),
        "Look at the alert",
        alert.raised_at,
        is_urgent=alert.kind in _URGENT,
    )


def way_of(alert: OperatorAlert) -> Way | None:
    """Return where an alert is dealt with, by its cause; None where it is done outside the portal."""
    about, _, what = alert.cause.partition(":")
    if about == "key":
        return Way("See the certificates on this key", CertificateFilter(spki=what[:64], state=StateGroup.IN_FORCE).url())
    if about == "certificate":
        return Way("Open the certificate", reverse("certificate", args=[what]))
    if about == "team" and alert.kind in (AlertKind.EXPIRING, AlertKind.EXPIRED):
        due = CertificateFilter(team=what, state=StateGroup.DUE)
        expired = CertificateFilter(team=what, state=CertificateState.EXPIRED, replaced=YesNo.NO)
        return Way("See the certificates", (expired if alert.kind == AlertKind.EXPIRED else due).url())
    if about.startswith("req-"):
        return Way("Open the request", reverse("request", args=[about]))
    if about == "report":
        return Way("See the reports", reverse("reports"))
    if about == "team":
        return None
    return Way("See the machinery", reverse("machinery"))
