"""The kept figures: written by a schedule, read by pages and `/metrics`.

A count reads everything as of one moment, so the figures of one count agree with each other, and it
replaces the figures of the last one in one transaction: no reader sees parts of two. What changes
while a count runs is in the next one. Nothing is added up from single changes, so a lost or doubled
change cannot make the figures drift (decision 42).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.urls import reverse
from django.utils.http import urlencode

from certs.inventory.counting import Counted, Kind, count_all, figures_by_filter, filter_of, listed
from certs.inventory.filters import CertificateFilter, Compliance, filter_certificates
from certs.inventory.states import CertificateState
from certs.models import Certificate, Figure, FigureCount, Team
from db.clock import database_now
from db.sql import one_moment

_ONLY_ROW = 1
# A count is repeated when the last one is older than so many times what it took: 2 % of a CPU.
_REST = 50


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures that a person may see, as of one moment. `counted_at` is None before the first count."""

    counted_at: datetime | None
    counts: dict[tuple[str, str], int]
    path: str = field(default_factory=lambda: reverse("certificates"))  # once: a page has two hundred addresses

    @property
    def day(self) -> date:
        """Return the day (UTC) of the count, from which the filters of the figures are made."""
        return (self.counted_at or database_now()).astimezone(UTC).date()

    def count(self, kind: Kind, value: str = "") -> int:
        """Return one figure; 0 where nothing was counted."""
        return self.counts.get((kind.value, value), 0)

    @property
    def total(self) -> int:
        """Return the number of certificates: each is in one state."""
        return sum(self.of(Kind.STATE).values())

    def of(self, kind: Kind) -> dict[str, int]:
        """Return the figures of a kind by their values, the largest first."""
        found = [(value, count) for (one, value), count in self.counts.items() if one == kind]
        return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))

    def url(self, kind: Kind, value: str = "", *, team: str = "") -> str:
        """Return the address of the list of what the figure counts."""
        return f"{self.path}?{_query(kind, value, team, self.day)}"


@lru_cache(maxsize=4096)
def _query(kind: Kind, value: str, team: str, day: date) -> str:
    """Return the query of an address. Kept: the estate page has a hundred and fifty of them."""
    return urlencode(listed(kind, value, team=team, day=day).to_query())


def figures_of(teams: Collection[int] | None, kinds: Collection[Kind] = tuple(Kind)) -> Figures:
    """Return the figures of these teams together; of all teams for None. Two small queries.

    `kinds`: those that are read. There are hundreds of WEEK and LIFE.
    """
    rows = Figure.objects.filter(kind__in=kinds)
    rows = rows.filter(team__isnull=True) if teams is None else rows.filter(team__in=teams)
    summed = rows.order_by().values_list("kind", "value").annotate(number=Sum("count"))
    counts = {(kind, value): int(number) for kind, value, number in summed}
    return Figures(FigureCount.objects.values_list("counted_at", flat=True).first(), counts)


def by_team(kind: Kind, value: str = "", *, teams: Collection[int] | None) -> list[tuple[Team, int]]:
    """Return one figure by team, the largest first; of these teams, or of all for None."""
    rows = Figure.objects.filter(kind=kind, value=value, team__isnull=False).select_related("team")
    rows = rows.only("count", "team__slug", "team__name")
    if teams is not None:
        rows = rows.filter(team__in=teams)
    return [(row.team, row.count) for row in rows.order_by("-count", "team__name") if row.team is not None]


def counts_by_team(kind: Kind, value: str = "", *, teams: Collection[int] | None) -> dict[int, int]:
    """Return one figure by the id of the team; of these teams, or of all for None."""
    rows = Figure.objects.filter(kind=kind, value=value, team__isnull=False)
    if teams is not None:
        rows = rows.filter(team__in=teams)
    return dict(rows.order_by().values_list("team_id", "count"))


def kept_since(kind: Kind, value: str = "") -> tuple[Figures, datetime | None]:
    """Return one figure of all teams, and since when counts have found any of it; None where the last one found none."""
    row = Figure.objects.filter(kind=kind, value=value, team__isnull=True).first()
    counts = {(kind.value, value): row.count} if row is not None else {}
    counted_at = FigureCount.objects.values_list("counted_at", flat=True).first()
    return Figures(counted_at, counts), row.since if row is not None else None


def state_figures(teams: Collection[int] | None = None) -> tuple[dict[CertificateState, int], datetime | None]:
    """Return the kept counts by state, and when they were counted; nothing before the first time."""
    found = figures_of(teams, [Kind.STATE])
    if found.counted_at is None:
        return {}, None
    return {state: found.count(Kind.STATE, state) for state in CertificateState}, found.counted_at


_IN_FORCE = (
    CertificateState.VALID,
    CertificateState.RENEW_SOON,
    CertificateState.RENEWED,
    CertificateState.RENEWING,
    CertificateState.NEEDS_YOU,
)


def kept_of(sought: CertificateFilter, teams: Collection[int] | None, *, now: datetime) -> int | None:
    """Return the kept count of what the filter lists, of these teams or of all for None.

    None for a filter of which no figure is kept, and where nothing of it was counted.
    """
    alone = replace(sought, team="")
    of_all = teams is None and not sought.team
    rows = Figure.objects.filter(team__isnull=True) if of_all else Figure.objects.filter(team__isnull=False)
    if sought.team:
        rows = rows.filter(team__slug=sought.team)
    if teams is not None:
        rows = rows.filter(team__in=teams)
    if not alone:  # each is in one state
        return _sum(rows.filter(kind=Kind.STATE)) or None
    if alone == _COMPLIES:  # all in force but for those that fail
        whole = _sum(rows.filter(kind=Kind.STATE, value__in=_IN_FORCE))
        return max(0, whole - _sum(rows.filter(kind=Kind.POLICY))) if whole else None
    figure = figures_by_filter(now.astimezone(UTC).date()).get(alone)
    return None if figure is None else _sum(rows.filter(kind=figure[0], value=figure[1])) or None


_COMPLIES = CertificateFilter(policy=Compliance.PASSES.value)


def _sum(rows: QuerySet[Figure]) -> int:
    return int(rows.aggregate(number=Sum("count", default=0))["number"])


def count_when_due() -> int:
    """Count, unless the last count is so young that counting again would cost too much."""
    last = FigureCount.objects.first()
    if last is not None and database_now() - last.counted_at < timedelta(seconds=_REST * last.seconds):
        return 0
    return count_states()


def count_states() -> int:
    """Count the inventory and keep the figures. Returns the number of all certificates.

    Effects: rows of `Figure` and `FigureCount`, in one transaction after the one that reads. Of two
    counts at once the later one stays, whichever ends last.
    """
    began = time.perf_counter()
    with one_moment():
        now = database_now()
        counted = count_all(now)
    _keep(counted, now=now, seconds=time.perf_counter() - began)
    return sum(count for (team, kind, _), count in counted.items() if team is None and kind is Kind.STATE)


@transaction.atomic
def _keep(counted: Counted, *, now: datetime, seconds: float) -> None:
    """Write what differs from the last count; most of a large inventory does not."""
    FigureCount.objects.get_or_create(pk=_ONLY_ROW, defaults={"counted_at": now, "seconds": seconds})
    last = FigureCount.objects.select_for_update().get(pk=_ONLY_ROW)
    if last.counted_at > now:  # a count that began later has ended before
        return
    kept = {(row.team_id, row.kind, row.value): row for row in Figure.objects.all()}
    present = set(Team.objects.values_list("pk", flat=True))  # a team can be deleted since it was counted
    wanted = {key: count for key, count in counted.items() if count and (key[0] is None or key[0] in present)}
    changed = []
    for key, count in wanted.items():
        row = kept.get(key)
        if row is not None and row.count != count:
            row.count = count
            changed.append(row)
    Figure.objects.filter(pk__in=[row.pk for key, row in kept.items() if key not in wanted]).delete()
    Figure.objects.bulk_update(changed, ["count"], batch_size=500)
    new = [Figure(team_id=team, kind=kind, value=value, count=count, since=now) for (team, kind, value), count in wanted.items()]
    Figure.objects.bulk_create([row for row in new if (row.team_id, row.kind, row.value) not in kept], batch_size=500)
    last.counted_at, last.seconds = now, seconds
    last.save()


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure that is not the length of its list."""

    name: str
    kept: int
    listed: int


def wrong_figures() -> list[Difference]:
    """Return figures that differ from the lists to which they lead, and kept sums that do not add up.

    Figures and lists are read as of one moment, in two independent ways: by groups, and by the
    filters that people follow. One query for each figure: for a schedule, not for a page.
    """
    with one_moment():
        now = database_now()
        counted = count_all(now)
        found = [one for key in counted if (one := _compared(counted, key, now)) is not None]
        return found + _sums()


def _compared(counted: Counted, key: tuple[int | None, Kind, str], now: datetime) -> Difference | None:
    team, kind, value = key
    if team is not None or kind is Kind.LIFE:
        return None
    sought = filter_of(kind, value, day=now.astimezone(UTC).date())
    number = filter_certificates(Certificate.objects.all(), sought, now=now).count()
    return None if number == counted[key] else Difference(f"{kind.value} {value}".strip(), counted[key], number)


def _sums() -> list[Difference]:
    """Return kept sums over all teams that are not the sum of the teams' rows."""
    rows = Figure.objects.exclude(kind=Kind.LIFE).order_by().values("kind", "value")
    summed = rows.annotate(whole=Sum("count", filter=Q(team__isnull=True)), parts=Sum("count", filter=Q(team__isnull=False)))
    return [
        Difference(f"{row['kind']} {row['value']}".strip(), row["whole"] or 0, row["parts"] or 0)
        for row in summed
        if (row["whole"] or 0) != (row["parts"] or 0)
    ]
