"""Renewed certificates whose old one is still served: mails to their owners."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from django.db import transaction

from certs.inventory.states import state_of
from certs.models import Certificate, InstalledPlace, PlaceOutcome
from certs.notifications.audience import Audience, owner_and_team, owner_of
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.wording import days_left, name_of, short_day

# The owner is mailed about a renewal at once; after so long the portal looks whether it was installed.
FIRST_LOOK = timedelta(days=3)
TEAM_FROM = 7  # days before the end of the old certificate at which the team is notified too
STAGES = (7, 1, 0)
MOST_AT_ONCE = 500


def notify_owners(now: datetime) -> int:
    """Notify the owners of certificates that were renewed and are still served. Returns the number of mails.

    One mail for each old certificate, with all its places, when it is found and again 7 days and 1
    day before its end and once it has ended.
    """
    rows = InstalledPlace.objects.filter(outcome=PlaceOutcome.OLD, served__isnull=False)
    rows = rows.filter(certificate__issued_at__lte=now - FIRST_LOOK).select_related("certificate__team", "certificate__owner", "served")
    by_old: dict[Certificate, list[InstalledPlace]] = defaultdict(list)
    for place in rows.order_by("served__not_after", "host", "port")[:MOST_AT_ONCE]:
        if place.served is not None:
            by_old[place.served].append(place)
    return sum(_notify(old, places, now) for old, places in by_old.items())


@transaction.atomic
def _notify(old: Certificate, places: list[InstalledPlace], now: datetime) -> int:
    certificate = places[0].certificate
    stage = _stage(old.not_after, now)
    name, where = name_of(certificate), ", ".join(str(place) for place in places[:3])
    if len(places) > 3:
        where = f"{where} and {len(places) - 3} more"
    ended = old.not_after <= now
    return notify(
        Topic.RENEWED,
        key=f"still-old:{old.cert_id}:{stage}",
        audience=_audience(certificate, old, now),
        subject=f"Old certificate {'expired' if ended else 'still served'}: {name}"
        + ("" if ended else f", reload by {short_day(old.not_after)} ({days_left(old.not_after, now)})"),
        template="still_old",
        context={
            "certificate": certificate,
            "old": old,
            "state": state_of(certificate, now),
            "old_state": state_of(old, now),
            "places": places,
            "where": where,
            "ended": ended,
            "now": now,
        },
        now=now,
    )


def _stage(end: datetime, now: datetime) -> str:
    days = (end.date() - now.date()).days
    if end <= now:
        return "ended"
    return str(min((stage for stage in STAGES if days <= stage), default="found"))


def _audience(certificate: Certificate, old: Certificate, now: datetime) -> Audience:
    near = old.not_after <= now + timedelta(days=TEAM_FROM)
    return owner_and_team(certificate) if near else owner_of(certificate)
