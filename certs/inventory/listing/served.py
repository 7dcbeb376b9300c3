"""Whether a certificate was served when the portal last looked at the places that it knows."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet, TextChoices

from certs.models import Certificate, InstalledPlace, PlaceOutcome
from db.sql import among

_FEW = 5_000  # of which the ids are asked for: the database would read all certificates to join as many


class Served(TextChoices):
    """What the last looks at places found."""

    YES = "yes", "seen on a server"
    OLD = "old", "still served although renewed"
    NO = "no", "not seen"


def served_condition(rows: QuerySet[Certificate], served: Served) -> QuerySet[Certificate]:
    """Return the certificates among `rows` of that kind; each is of exactly one kind."""
    places = InstalledPlace.objects.filter(served=OuterRef("pk"))
    known = InstalledPlace.objects.filter(served__isnull=False)
    if served is Served.OLD:
        return rows.filter(_at(known.filter(outcome=PlaceOutcome.OLD)))
    if served is Served.YES:
        return rows.filter(_at(known)).exclude(Exists(places.filter(outcome=PlaceOutcome.OLD)))
    return rows.exclude(Exists(places))


def _at(places: QuerySet[InstalledPlace]) -> Q:
    """Return the condition that a certificate is served at one of the places."""
    ids = list(places.order_by().values_list("served", flat=True)[: _FEW + 1])
    few = len(ids) <= _FEW
    return Q(among("pk", sorted(set(ids)))) if few else Q(pk__in=places.values("served"))
