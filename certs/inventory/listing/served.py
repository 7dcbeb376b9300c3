"""Whether a certificate was served when the portal last looked at the places that it knows."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet, TextChoices

from certs.models import Certificate, InstalledPlace, PlaceOutcome


class Served(TextChoices):
    """What the last looks at places found."""

    YES = "yes", "seen on a server"
    OLD = "old", "still served although renewed"
    NO = "no", "not seen"


def served_condition(rows: QuerySet[Certificate], served: Served) -> QuerySet[Certificate]:
    """Return the certificates among `rows` of that kind; each is of exactly one kind."""
    places = InstalledPlace.objects.filter(served=OuterRef("pk"))
    seen = Q(pk__in=InstalledPlace.objects.filter(served__isnull=False).values("served"))
    old = Q(pk__in=InstalledPlace.objects.filter(served__isnull=False, outcome=PlaceOutcome.OLD).values("served"))
    if served is Served.OLD:
        return rows.filter(old)
    if served is Served.YES:
        return rows.filter(seen).exclude(Exists(places.filter(outcome=PlaceOutcome.OLD)))
    return rows.exclude(Exists(places))
