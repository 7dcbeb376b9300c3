"""One page of the list of certificates: which rows, in which order, how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import QuerySet

from certs.inventory.figures import kept_of_state
from certs.inventory.filters import CertificateFilter, without_text
from certs.inventory.listing.paging import PAGE, Group, Position, Rows, Window, window
from certs.inventory.listing.sorts import Sort, Teams, check_sort, groups_of
from certs.inventory.search import Named, look_up
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, InstalledPlace
from db.counting import MOST_EXACT, Count, Plan, count_as_planned, few, plan_of
from db.sql import among

FEW = 5_000  # rows that are sorted without an index
# Of a state there is a kept figure, minutes old; counting more for a page takes a tenth of a second.
MOST_OF_STATE = 20_000


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate as the list shows it: with its state, and how many places served it."""

    row: Certificate
    state: CertificateState
    places: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """The certificates that an actor may see and that meet a filter, in an order.

    `rows` has them all; `candidates` are those that the groups are read from: without the text of
    the filter where the groups apply it themselves. `ids` has the ids of all where they are few.
    `plan` is what the database expects of `rows`; up to `most` they are counted.
    """

    rows: Rows
    candidates: Rows
    groups: Sequence[Group]
    ids: list[int] | None
    plan: Plan
    most: int = MOST_EXACT

    def window(self, *, after: Position | None = None, before: Position | None = None, size: int = PAGE) -> Window:
        """Return the ids of a page. Raises InputRefused for a position of another order."""
        small = self.ids is not None
        return window(self.candidates, self.groups, after=after, before=before, size=size, is_small=small)

    def count(self) -> Count:
        """Return how many there are: exact up to a bound, else an estimate."""
        return count_as_planned(self.rows, self.plan, most=self.most) if self.ids is None else Count(len(self.ids), exact=True)

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


def view_of(teams: Teams, sought: CertificateFilter, sort: str = "", *, now: datetime) -> View:
    """Return the view of a filter and an order over the certificates of `teams`, as `Authority.sees` returns them.

    Raises InputRefused for an unknown order.
    """
    visible = Certificate.objects.all()
    if teams is not None:
        visible = visible.filter(team__in=teams)
    rows = without_text(visible, sought, now=now)
    named: Named | None = look_up(rows, sought.q) if sought.q else None
    check_sort(sort)
    found = named.among(rows) if named is not None else rows
    by_match = named is not None and sort.removeprefix("-") in ("", Sort.MATCH)
    # A filter that few rows meet is read by its own index, and sorted afterwards.
    plan = _plan_of(found, sought, teams)
    ids = few(found, plan, most=FEW) if sought or teams is not None else None
    candidates = found
    if ids is not None:
        candidates = Certificate.objects.filter(among("pk", ids))
    if by_match and named is not None:  # its groups say which rows they are
        candidates = rows if ids is None else Certificate.objects.all()
        named = named if ids is None else named.restricted(ids)
    groups = groups_of(sort, named, teams=teams, state=sought.state, now=now)
    return View(found, candidates, groups, ids, plan, MOST_OF_STATE if _is_state_alone(sought) else MOST_EXACT)


def _plan_of(rows: Rows, sought: CertificateFilter, teams: Teams) -> Plan:
    """Return what to expect of the view: of a state alone, what is kept, for the planner expects a part of it."""
    plan = plan_of(rows)
    if _is_state_alone(sought):
        return replace(plan, rows=max(plan.rows, kept_of_state(sought.state, teams)))
    return plan


def _is_state_alone(sought: CertificateFilter) -> bool:
    return sought.to_query().keys() == {"state"}


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
