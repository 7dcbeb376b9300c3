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
from certs.inventory.search import Named, by_name, identified
from certs.inventory.states import CertificateState, held, states_of
from certs.models import Certificate, InstalledPlace
from db.counting import MOST_EXACT, Count, Few, Plan, count_as_planned, few, plan_of
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
    the filter where the groups apply it themselves. `few` has the ids of all where they are few.
    `plan` is what the database expects of `rows`; up to `most` they are counted.
    """

    rows: Rows
    candidates: Rows
    groups: Sequence[Group]
    few: Few
    plan: Plan
    most: int = MOST_EXACT

    def window(self, *, after: Position | None = None, before: Position | None = None, size: int = PAGE) -> Window:
        """Return the ids of a page. Raises InputRefused for a position of another order."""
        small = self.few.ids is not None
        return window(self.candidates, self.groups, after=after, before=before, size=size, is_small=small)

    def count(self) -> Count:
        """Return how many there are: exact up to a bound, else an estimate."""
        if self.few.ids is not None:
            return Count(len(self.few.ids), exact=True)
        if not self.few.in_time:  # nor would counting them all be
            return Count(self.plan.rows, exact=False)
        return count_as_planned(self.rows, self.plan, most=self.most)

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
    check_sort(sort)
    visible = Certificate.objects.all()
    if teams is not None:
        visible = visible.filter(team__in=teams)
    rows = without_text(visible, sought, now=now)
    restricts = teams is not None or bool(sought.to_query().keys() - {"q"})
    if sought.q:
        return _searched(rows, sought, sort, teams=teams, restricts=restricts, now=now)
    plan = _plan_of(rows, sought, teams)
    # A filter that few rows meet is read by its own index, and sorted afterwards.
    found = few(rows, plan, most=FEW) if restricts else Few(None)
    candidates = rows if found.ids is None else Certificate.objects.filter(among("pk", found.ids))
    if found.ids is None and sought.state == CertificateState.ON_HOLD:
        candidates = held(without_text(visible, replace(sought, state=""), now=now))
    groups = groups_of(sort, None, teams=teams, state=sought.state, now=now)
    return View(rows, candidates, groups, found, plan, MOST_OF_STATE if _is_state_alone(sought) else MOST_EXACT)


def _searched(rows: Rows, sought: CertificateFilter, sort: str, *, teams: Teams, restricts: bool, now: datetime) -> View:
    """Return the view of a text among `rows`, which meet the rest of the filter; `restricts`: that leaves some out.

    Few rows are looked through by their names. Among many the names are looked through first, and
    only where that finds many are the rows asked for again.
    """
    named, plan = Named(identified(rows, sought.q)), Plan()
    found = Few(list(named.ids) or None)
    if found.ids is None:
        near = few(rows, plan_of(rows), most=FEW) if restricts else Few(None)
        named = by_name(sought.q, ids=near.ids)
        if isinstance(named.inside, tuple) and (near.ids is not None or not restricts):
            found = Few(list(named.inside))
    matching = named.among(rows)
    if found.ids is None:
        plan = plan_of(matching)
        if restricts:
            found = few(matching, plan, most=FEW)
            named = named if found.ids is None else by_name(sought.q, ids=found.ids)
    by_match = sort.removeprefix("-") in ("", Sort.MATCH)
    groups = groups_of(sort, named if by_match else None, teams=teams, state=sought.state, now=now)
    if by_match:  # the groups say which rows they are
        candidates = rows if found.ids is None else Certificate.objects.all()
    else:
        candidates = matching if found.ids is None else Certificate.objects.filter(among("pk", found.ids))
    return View(matching, candidates, groups, found, plan)


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
    rows = rows.select_related("team", "issuer", "request", "owner").only(*_READ)
    found = {row.pk: row for row in rows}
    states = states_of(ids, now)
    places: dict[int, int] = {}
    served = InstalledPlace.objects.filter(served__in=ids).values_list("served", flat=True)
    for pk in served:
        if pk is not None:
            places[pk] = places.get(pk, 0) + 1
    return [Listed(found[pk], states[pk], places.get(pk, 0)) for pk in ids if pk in found and pk in states]


# What a row of the list shows: whole objects have a hundred columns, of which a page has twenty-five.
_READ = (
    *("cert_id", "common_name", "not_after", "key_type", "renewal_blocked", "renewal_off_reason"),
    *("request__dns_names", "request__ip_addresses", "team__name", "issuer__name"),
    *("owner__username", "owner__first_name", "owner__last_name"),
)
