"""One page of the list of certificates: which rows, in which order, how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from certs.access.permissions import Authority
from certs.inventory.filters import CertificateFilter, without_text
from certs.inventory.listing.paging import PAGE, Group, Position, Rows, Window, window
from certs.inventory.listing.sorts import groups_of
from certs.inventory.search import Named, look_up
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, InstalledPlace
from db.counting import Count, count, few

FEW = 5_000  # rows that are sorted without an index


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate as the list shows it: with its state, and how many places served it."""

    row: Certificate
    state: CertificateState
    places: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """The certificates that an actor may see and that meet a filter, in an order.

    `rows` has them all; `candidates` are those before the text of the filter is applied, which
    the groups of the best match do themselves. `ids` has the ids of all where they are few.
    """

    rows: Rows
    candidates: Rows
    groups: Sequence[Group]
    ids: list[int] | None

    def window(self, *, after: Position | None = None, before: Position | None = None, size: int = PAGE) -> Window:
        """Return the ids of a page. Raises InputRefused for a position of another order."""
        small = self.ids is not None
        rows = Certificate.objects.filter(pk__in=self.ids) if self.ids is not None else self.candidates
        return window(rows, self.groups, after=after, before=before, size=size, is_small=small)

    def count(self) -> Count:
        """Return how many there are: exact up to a bound, else an estimate."""
        return count(self.rows) if self.ids is None else Count(len(self.ids), exact=True)

    def parts(self, size: int) -> Iterator[list[int]]:
        """Yield the ids of all of them in the order, `size` at a time, each part by key."""
        after: Position | None = None
        while True:
            found = self.window(after=after, size=size)
            if found.ids:
                yield found.ids
            if found.older is None:
                return
            after = found.older


def view_of(authority: Authority, sought: CertificateFilter, sort: str = "", *, now: datetime) -> View:
    """Return the view of a filter and an order. Raises InputRefused for an unknown order."""
    visible = Certificate.objects.all()
    teams = authority.sees()
    if teams is not None:
        visible = visible.filter(team__in=teams)
    rows = without_text(visible, sought, now=now)
    named: Named | None = look_up(rows, sought.q) if sought.q else None
    groups = groups_of(sort, named, teams=teams, now=now)
    found = named.among(rows) if named is not None else rows
    by_match = named is not None and not sort
    # A filter that few rows meet is read by its own index, and sorted afterwards.
    ids = few(found, most=FEW) if sought or teams is not None else None
    return View(found, rows if by_match else found, groups, ids)


def listed(ids: Sequence[int], *, now: datetime) -> list[Listed]:
    """Return the rows of a page in the order of `ids`, in a number of queries that is the same for
    every page.
    """
    rows: QuerySet[Certificate] = Certificate.objects.filter(pk__in=ids)
    rows = rows.select_related("team", "issuer", "request", "owner")
    found = {row.pk: row for row in rows}
    states = states_of(ids, now)
    places: dict[int, int] = {}
    served = InstalledPlace.objects.filter(served__in=ids).values_list("served", flat=True)
    for pk in served:
        if pk is not None:
            places[pk] = places.get(pk, 0) + 1
    return [Listed(found[pk], states[pk], places.get(pk, 0)) for pk in ids if pk in found]
