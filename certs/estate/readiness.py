"""Whether renewals keep up when lives become shorter: SC-081 lets public CAs issue for 200, 100, then 47 days.

A forecast from what is in use: how many renewals a day the same certificates need under each limit,
against what their CA signs, as measured from its last batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.conf import settings

from certs.authorities.overview import CA
from certs.estate.overview import Number
from certs.inventory.counting import REGIMES, Kind
from certs.inventory.figures import Figures
from certs.renewal.plan import issuer_now

_MINUTES_OF_A_DAY = 1440
# CA/Browser Forum ballot SC-081v3.
BEGINS = {200: date(2026, 3, 15), 100: date(2027, 3, 15), 47: date(2029, 3, 15)}


@dataclass(frozen=True, slots=True)
class Regime:
    """A limit of the validity. `days` is 0 for today's lives; `longer`: certificates that it would shorten."""

    days: int
    begins: date | None
    longer: Number | None
    a_day: float | None  # None where the figures are of some teams: lives are counted for all together


@dataclass(frozen=True, slots=True)
class Load:
    """Renewals a day at one CA, in the order of the regimes, against what it signs and may begin a day."""

    name: str
    a_day: tuple[float, ...]
    signs: float | None  # as measured; None where too little was issued
    budget: int
    certificates: int

    @property
    def percent(self) -> int | None:
        """Return how much of the day's budget the shortest lives need, rounded up; None without a measurement."""
        if self.signs is None or not self.budget:
            return None
        return -int(-100 * self.a_day[-1] // self.budget)


def days_between_renewals(life: int) -> float:
    """Return how many days pass until a certificate of that life is renewed.

    It is renewed PKI_RENEW_BEFORE_DAYS before its end, or a third of its life before where that is
    shorter (`certs.renewal.due`).
    """
    return max(life - min(settings.PKI_RENEW_BEFORE_DAYS, life / 3), 0.5)


def regimes(figures: Figures) -> list[Regime]:
    """Return today and each limit, with the renewals a day that the figures lead to."""
    lives = _lives(figures)
    found = [Regime(0, None, None, _a_day(lives, 0) if lives else None)]
    for days in REGIMES:
        count = figures.count(Kind.LONGER, str(days))
        longer = Number(f"valid for more than {days} days", count, figures.url(Kind.LONGER, str(days)))
        found.append(Regime(days, BEGINS[days], longer, _a_day(lives, days) if lives else None))
    return found


def loads(figures: Figures, cas: Sequence[CA]) -> list[Load]:
    """Return the load of each CA that renews: what a CA issued is renewed by the one that has taken over from it."""
    by_slug = {ca.issuer.slug: ca for ca in cas}
    target = {slug: issuer_now(ca.issuer).slug for slug, ca in by_slug.items() if not ca.is_root}
    lives: dict[str, list[tuple[int, int]]] = {}
    for slug, life, count in _by_issuer(figures):
        lives.setdefault(target.get(slug, slug), []).append((life, count))
    found = []
    for slug, of_ca in lives.items():
        ca = by_slug.get(slug)
        if ca is None:
            continue
        a_day = tuple(_a_day(of_ca, days) for days in (0, *REGIMES))
        signs = None if ca.rate is None else ca.rate * _MINUTES_OF_A_DAY
        number = sum(count for _, count in of_ca)
        found.append(Load(ca.issuer.name, a_day, signs, ca.budget * _MINUTES_OF_A_DAY, number))
    return sorted(found, key=lambda load: -load.certificates)


def _by_issuer(figures: Figures) -> list[tuple[str, int, int]]:
    found = []
    for value, count in figures.of(Kind.LIFE).items():
        slug, life = value.split()
        found.append((slug, int(life), count))
    return found


def _lives(figures: Figures) -> list[tuple[int, int]]:
    return [(life, count) for _, life, count in _by_issuer(figures)]


def _a_day(lives: Sequence[tuple[int, int]], limit: int) -> float:
    """Return renewals a day of certificates with these lives in days, each cut to `limit`; 0 cuts nothing."""
    return sum(count / days_between_renewals(min(life, limit) if limit else life) for life, count in lives)
