"""One page of the list of certificates: which rows, in which order, how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db.models import Case, Value, When

from certs.access.owners import has_owner
from certs.inventory.figures import kept_of
from certs.inventory.filters import CertificateFilter, without_text
from certs.inventory.listing.paging import PAGE, Group, Position, Rows, Window, counted_window, window
from certs.inventory.listing.sorts import Sort, Teams, check_sort, groups_of
from certs.inventory.search import Named, by_name, identified
from certs.inventory.states import CertificateState, held, states_of, with_key_blocked
from certs.models import Certificate, InstalledPlace
from db.counting import FAR_MORE, MOST_EXACT, Count, Few, Plan, count_as_planned, few, few_counted, in_time, plan_of
from db.sql import among

FEW = 5_000  # rows that are sorted without an index
_MOST_COUNTED = 10_000  # rows that are counted where that is dear: what one act takes (`certs.acts.drafting.MOST_LINES`)
_COUNTED_ALONE = 2_000  # milliseconds; the dearest of 1,000,000 took 300
_FEW_AGAIN = 2_500  # rows that are looked up by their ids: of more the first are found sooner in the index of the order
_FEW_GROUPS = 12
_MOST_SORTED_BY_REFERENCE = 50_000  # the same by one of many teams: the first hundred may have none of them
# Of the planner's cost: above that of a look at each of 100,000 rows. Tried with as many certificates: with 8,000 the list of a key
# type took 51 ms, with this 41, and more would let counts of 1,000,000 begin that do not end in time.
_DEAR = 10_500
_READ_WHOLE = 20_000  # of the planner's cost: reading a table of 100,000 from its beginning to its end is half of it


@dataclass(frozen=True, slots=True)
class Listed:
    """A certificate as the list shows it: with its state, and how many places served it.

    `owner_left`: the owner's account is off, or out of the team, so nobody answers for it.
    """

    row: Certificate
    state: CertificateState
    places: int = 0
    owner_left: bool = False


@dataclass(frozen=True)
class View:
    """The certificates that an actor may see and that meet a filter, in an order.

    `rows` has them all; `candidates` are those that the groups are read from where they are many:
    without the text of the filter where the groups apply it themselves. `found` has the ids of all
    where a search has found few. `plan` is what the database expects of `rows`. `kept`: the figure of
    them, a minute old, that is shown with its time because counting them takes too long. `restricts`: the filter, or
    what the actor may see, leaves some out.
    """

    rows: Rows
    candidates: Rows
    groups: Sequence[Group]
    plan: Plan
    kept: int | None = None
    restricts: bool = False
    found: Few | None = None
    by_match: bool = False

    def page(self, *, after: Position | None = None, before: Position | None = None) -> tuple[Window, Count]:
        """Return a page, and how many there are. Raises InputRefused for a position of another order."""
        if after is None and before is None and self._is_sorted:
            found = counted_window(self.rows, self.groups, self.plan)
            if found is not None:
                return found
            vars(self)["_few"] = Few(None, in_time=False)  # reading them all took too long, and would again
        page = self.window(after=after, before=before)
        shown = len(page.ids)
        if page.newer is None and page.older is None:
            return page, Count(shown, exact=True)
        total = self.count()
        return page, total if total.exact else replace(total, number=max(total.number, shown + 1))  # there is another page

    def window(self, *, after: Position | None = None, before: Position | None = None, size: int = PAGE) -> Window:
        """Return the ids of a page. Raises InputRefused for a position of another order."""
        rows, ids = self.candidates, self._few.ids
        if ids is not None:  # by match, the groups say which rows they are
            rows = Certificate.objects.all() if self.by_match else Certificate.objects.filter(among("pk", ids))
        return window(rows, self.groups, after=after, before=before, size=size, is_small=ids is not None, plan=self._doubted)

    def count(self) -> Count:
        """Return how many there are: exact up to a bound, else an estimate."""
        if self.kept is not None:
            return Count(self.kept, exact=False)
        few = self._few
        if few.ids is not None:
            return Count(len(few.ids), exact=True)
        if not few.in_time:  # nor would counting them all be
            return Count(self.plan.rows, exact=False)
        if few.number is not None:
            exact = few.number <= self._most
            number = few.number if exact else max(self._most, self.plan.rows)
            return Count(number, exact=exact, over=few.number > MOST_EXACT)
        return count_as_planned(self.rows, self.plan, most=self._most)

    @property
    def _most(self) -> int:
        """Up to how many are counted. Counting 100,000 that no index has takes longer than the rest of the page."""
        return _MOST_COUNTED if self.plan.cost > _DEAR else MOST_EXACT

    @cached_property
    def _few(self) -> Few:
        """A filter that few rows meet is read by its own index, and sorted afterwards."""
        if self.found is not None:
            return self.found
        if not self.restricts or self.kept is not None:
            return Few(None)
        return few_counted(self.rows, self.plan, most=_FEW_AGAIN, counted=self._most)

    @property
    def _doubted(self) -> Plan | None:
        """What the database expects of a filter, which may be wrong. All that have a part of a name take longer to find than to wait."""
        return self.plan if self.restricts else None

    @property
    def _is_sorted(self) -> bool:
        """Whether so few are expected that they are all read for a page, in an order of which one statement knows the groups."""
        if self.found is not None or not self.restricts or not self.groups:
            return False
        if self.candidates is not self.rows:  # many, of which the first are found without reading the others
            return False
        most = FEW if len(self.groups) <= _FEW_GROUPS else _MOST_SORTED_BY_REFERENCE
        expected = self.plan.rows <= FAR_MORE * most and self.plan.cost < _READ_WHOLE
        named = len(self.groups) <= _FEW_GROUPS or all(one.reference is not None for one in self.groups)
        return expected and named and all(one.when is not None for one in self.groups)

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
    figure, plan = kept_of(sought, teams, now=now), plan_of(rows)
    kept: int | None = None
    if figure is not None:  # the planner expects a part of it
        plan = replace(plan, rows=figure)
        dear = figure > FAR_MORE * _MOST_COUNTED and plan.cost > _DEAR
        kept = figure if dear or figure > FAR_MORE * MOST_EXACT else None
    candidates = rows
    if sought.state == CertificateState.ON_HOLD and plan.rows > FEW:
        candidates = held(without_text(visible, replace(sought, state=""), now=now))
    groups = groups_of(sort, None, teams=teams, sought=sought, now=now)
    return View(rows, candidates, groups, plan, kept, restricts)


def counted(teams: Teams, sought: CertificateFilter, *, now: datetime) -> Count:
    """Return how many there are of `view_of`: exact up to MOST_EXACT, however dear. For a request that only counts.

    Raises InputRefused for a text that cannot be sought.
    """
    visible = Certificate.objects.all()
    if teams is not None:
        visible = visible.filter(team__in=teams)
    rows = without_text(visible, sought, now=now)
    if sought.q:
        named = Named(identified(rows, sought.q))
        rows = (named if named.ids else by_name(sought.q)).among(rows)
    plan = plan_of(rows)
    number = in_time(rows.order_by().values("pk")[: MOST_EXACT + 1].count, plan, milliseconds=_COUNTED_ALONE)
    if number is None:
        return Count(plan.rows, exact=False)
    over = number > MOST_EXACT
    return Count(max(number, plan.rows) if over else number, exact=not over, over=over)


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
        elif not near.in_time:  # those with the text are not found sooner than all
            found = near
    matching = named.among(rows)
    if found.ids is None:
        plan = plan_of(matching)
        if restricts and found.in_time:
            found = few(matching, plan, most=FEW)
            named = named if found.ids is None else by_name(sought.q, ids=found.ids)
    by_match = sort.removeprefix("-") in ("", Sort.MATCH)
    order = named if by_match else None
    groups = groups_of(sort, order, teams=teams, sought=sought, now=now)
    return View(matching, rows if by_match else matching, groups, plan, found=found, by_match=by_match)


def listed(ids: Sequence[int], *, now: datetime) -> list[Listed]:
    """Return the rows of a page in the order of `ids`, in a number of queries that is the same for
    every page.
    """
    rows: Any = with_key_blocked(Certificate.objects.filter(pk__in=ids), now)
    rows = rows.annotate(owned=Case(When(has_owner(), then=Value(True)), default=Value(False)))
    rows = rows.select_related("team", "issuer", "request", "owner").only(*_READ)
    found = {row.pk: row for row in rows}
    states = states_of(ids, now)
    places: dict[int, int] = {}
    served = InstalledPlace.objects.filter(served__in=ids).values_list("served", flat=True)
    for pk in served:
        if pk is not None:
            places[pk] = places.get(pk, 0) + 1
    shown = [(found[pk], states[pk], places.get(pk, 0)) for pk in ids if pk in found and pk in states]
    return [Listed(row, state, count, row.owner_id is not None and not row.owned) for row, state, count in shown]


# What a row of the list shows: whole objects have a hundred columns, of which a page has twenty-five.
_READ = (
    *("cert_id", "common_name", "not_after", "key_type", "renewal_blocked", "renewal_off_reason"),
    *("request__dns_names", "request__ip_addresses", "team__name", "issuer__name"),
    *("owner__username", "owner__first_name", "owner__last_name"),
)
