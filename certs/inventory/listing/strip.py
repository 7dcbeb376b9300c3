"""The figures above the list: how many certificates that an actor may see are in which state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count as Counted

from certs.access.permissions import Authority
from certs.inventory.figures import state_figures
from certs.inventory.filters import (
    CertificateFilter,
    Compliance,
    filter_certificates,
)
from certs.inventory.states import CertificateState, with_state
from certs.models import Certificate
from db.counting import Count, count

FEW = 2_000  # certificates that are counted for each page; above that figures are kept
SHOWN = (
    CertificateState.VALID,
    CertificateState.RENEW_SOON,
    CertificateState.NEEDS_YOU,
    CertificateState.EXPIRED,
)
_DAYS = 30


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


def strip(authority: Authority, *, now: datetime) -> Strip:
    """Return the figures of what the actor may see.

    Counted now where there are few certificates. Else the states come from the kept figures, and
    before the first of those they are counted up to a bound.
    """
    teams = authority.sees()
    rows = Certificate.objects.all() if teams is None else Certificate.objects.filter(team__in=teams)
    counts, counted_at = _counts(rows, teams, now)
    since = (now - timedelta(days=_DAYS)).date()
    revoked = CertificateFilter(revoked_after=since)
    outside = CertificateFilter(policy=Compliance.FAILS.value)
    figures = [Figure(state.label, counts[state], CertificateFilter(state=state.value), _is_bad(state)) for state in SHOWN]
    figures += [
        Figure(f"revoked in {_DAYS} days", count(filter_certificates(rows, revoked, now=now)), revoked),
        Figure("outside policy", count(filter_certificates(rows, outside, now=now)), outside, is_bad=True),
    ]
    return Strip(figures, counted_at)


def _is_bad(state: CertificateState) -> bool:
    return state in (CertificateState.NEEDS_YOU, CertificateState.EXPIRED)


def _counts(rows: Any, teams: frozenset[int] | None, now: datetime) -> tuple[dict[CertificateState, Count], datetime | None]:
    if count(rows, most=FEW).exact:
        states: Any = with_state(rows.order_by(), now)  # types know no `state_now`
        grouped = states.values("state_now").annotate(number=Counted("pk"))
        found = dict(grouped.values_list("state_now", "number"))
        return {state: Count(found.get(state.value, 0), exact=True) for state in SHOWN}, None
    kept, counted_at = state_figures(teams)
    if counted_at is not None:
        return {state: Count(kept.get(state, 0), exact=True) for state in SHOWN}, counted_at
    sought = {state: CertificateFilter(state=state.value) for state in SHOWN}
    return {one: count(filter_certificates(rows, by, now=now)) for one, by in sought.items()}, None
