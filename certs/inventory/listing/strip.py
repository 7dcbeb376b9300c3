"""The figures above the list: how many certificates that an actor may see are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.db.models import QuerySet

from certs.inventory.counting import REVOKED_DAYS, Kind, filter_of, revoked_since
from certs.inventory.figures import Figures, figures_of
from certs.inventory.filters import CertificateFilter, Compliance, filter_certificates
from certs.inventory.listing.sorts import Teams
from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate
from db.counting import Count, count

FEW = 500  # certificates that are counted for each page; above that figures are kept
SHOWN = (
    CertificateState.VALID,
    CertificateState.RENEW_SOON,
    CertificateState.NEEDS_YOU,
    CertificateState.EXPIRED,
)
_KINDS = (Kind.STATE, Kind.REVOKED, Kind.POLICY)
# Most of what has expired was replaced before: a large number of them is no trouble.
_BAD = (CertificateState.NEEDS_YOU.value, Compliance.FAILS.value)


@dataclass(frozen=True, slots=True)
class Figure:
    """A count, and the filter that lists what it counts."""

    label: str
    count: Count
    sought: CertificateFilter
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """The figures, and when they were counted; None where that is now."""

    figures: list[Figure]
    counted_at: datetime | None


def strip(teams: Teams, *, now: datetime) -> Strip:
    """Return the figures of the certificates of `teams`, as `Authority.sees` returns them.

    Counted now where there are few certificates, else from the kept figures: two small queries.
    Before the first of those all are counted up to a bound.
    """
    rows = Certificate.objects.all() if teams is None else Certificate.objects.filter(team__in=teams)
    kept = figures_of(teams, _KINDS)
    if kept.counted_at is not None and kept.total > 2 * FEW:
        return _kept(kept)
    ids = list(rows.order_by().values_list("pk", flat=True)[: FEW + 1])
    if len(ids) <= FEW:
        # By id: of all together the database would compare every renewal of the inventory (50 ms with 100,000 certificates).
        found = Counter(state.value for state in states_of(ids, now).values())
        return _counted_now(rows, lambda sought: Count(sought.count(), exact=True), now, found)
    return _kept(kept) if kept.counted_at is not None else _counted_now(rows, count, now, None)


def _kept(kept: Figures) -> Strip:
    figures = [_figure(*one, Count(kept.count(one[1], one[2]), exact=True), kept.day) for one in _shown(kept.day)]
    return Strip(figures, kept.counted_at)


def _counted_now(
    rows: QuerySet[Certificate],
    number_of: Callable[[QuerySet[Certificate]], Count],
    now: datetime,
    states: Mapping[str, int] | None,
) -> Strip:
    """`states`: how many are in which state, where they were counted together."""
    today = now.astimezone(UTC).date()

    def number(kind: Kind, value: str) -> Count:
        if kind is Kind.STATE and states is not None:
            return Count(states.get(value, 0), exact=True)
        return number_of(filter_certificates(rows, filter_of(kind, value, day=today), now=now))

    return Strip([_figure(*one, number(one[1], one[2]), today) for one in _shown(today)], None)


def _shown(day: date) -> list[tuple[str, Kind, str]]:
    """Return label, kind and value of each figure on a day."""
    return [
        *((state.label, Kind.STATE, state.value) for state in SHOWN),
        (f"revoked in {REVOKED_DAYS} days", Kind.REVOKED, revoked_since(day).isoformat()),
        ("outside policy", Kind.POLICY, Compliance.FAILS.value),
    ]


def _figure(label: str, kind: Kind, value: str, number: Count, day: date) -> Figure:
    return Figure(label, number, filter_of(kind, value, day=day), value in _BAD)
