"""The numbers of the estate page, each with the address of the list that it counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.conf import settings

from certs.estate import ending
from certs.estate.ending import Ending
from certs.inventory.counting import NEEDS, Kind, mondays
from certs.inventory.figures import Figures, by_team, counts_by_team
from certs.inventory.filters import CertificateFilter, Renewal, RenewalGroup, StateGroup
from certs.models import Issuer, Team
from keys.spec import KeyFacts
from policy.errors import PolicyMissing
from policy.publishing import version_in_force
from policy.rules.keys import AllowedKeys, key_from_name

# In the order in which they are stacked: what needs nobody is at the bottom.
SERIES = (
    (Renewal.ITSELF, "renew automatically"),
    (Renewal.BY_HAND, "by hand, with a new CSR"),
    (Renewal.BLOCKED, "blocked"),
    (Renewal.OFF, "switched off"),
)
TEAMS_SHOWN = 12
NOT_AUTOMATED_SHOWN = 100
_PERSON = RenewalGroup.PERSON.value
SOON = "ends_unrenewed"  # the first of NEEDS, which has a list of its own


@dataclass(frozen=True, slots=True)
class Number:
    """A count with its words and its list."""

    label: str
    count: int
    url: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Week:
    """How many certificates end in a week, by how they are renewed, in the order of SERIES."""

    monday: date
    numbers: tuple[Number, ...]

    @property
    def total(self) -> int:
        return sum(number.count for number in self.numbers)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """Certificates on one kind of key. `weak`: the policy in force does not allow it."""

    algorithm: str
    number: Number
    weak: bool


@dataclass(frozen=True, slots=True)
class TeamRow:
    """The certificates of a team, and those of them that are not renewed automatically."""

    team: Team
    active: Number
    by_person: Number

    @property
    def automatic(self) -> int:
        """Return how many are renewed automatically."""
        return max(0, self.active.count - self.by_person.count)

    @property
    def automatic_percent(self) -> int:
        """Return the part that is renewed automatically, never rounded up."""
        return self.automatic * 100 // self.active.count if self.active.count else 100


def needs(figures: Figures) -> list[Number]:
    """Return what else needs a person, without what nobody needs."""
    return [
        Number(need.label, count, figures.url(Kind.NEED, need.key), need.advice)
        for need in NEEDS
        if need.key != SOON and (count := figures.count(Kind.NEED, need.key))
    ]


def soon(figures: Figures, teams: Collection[int] | None, lines: Sequence[Ending]) -> tuple[int, list[Number]]:
    """Return how many certificates end soon without a renewal, and to which teams they belong.

    From the list on the page where that is complete, so that the page agrees with itself even when
    a renewal ended since the last count; else from the figures.
    """
    counted = ending.by_team(lines) if len(lines) < ending.SHOWN else by_team(Kind.NEED, SOON, teams=teams)
    numbers = [Number(team.name, count, figures.url(Kind.NEED, SOON, team=team.slug)) for team, count in counted]
    return sum(number.count for number in numbers), numbers


def weeks(figures: Figures) -> list[Week]:
    """Return the weeks of the next half year. Only a count of something has an address."""
    return [
        Week(monday, tuple(_number(figures, f"{monday} {renewal.value}", words) for renewal, words in SERIES))
        for monday in mondays(figures.day)
    ]


def _number(figures: Figures, value: str, words: str) -> Number:
    count = figures.count(Kind.WEEK, value)
    return Number(words, count, figures.url(Kind.WEEK, value) if count else "")


@dataclass(frozen=True, slots=True)
class AllowedNow:
    """What the policy in force says of keys. `version` is empty where none is in force: then no key is weak."""

    rule: AllowedKeys | None
    version: str

    def is_weak(self, name: str) -> bool:
        return self.rule is not None and not is_allowed(self.rule, name)


def allowed_now(now: datetime) -> AllowedNow:
    """Read the policy in force."""
    try:
        version = version_in_force(settings.PKI_DEFAULT_POLICY, now)
    except PolicyMissing:
        return AllowedNow(None, "")
    return AllowedNow(version.ruleset.rule(AllowedKeys), version.version)


def keys(figures: Figures, allowed: AllowedNow) -> list[KeyRow]:
    """Return the kinds of keys with their counts, by algorithm."""
    rows = []
    for name, count in figures.of(Kind.KEY).items():
        facts = KeyFacts.from_name(name)
        number = Number(facts.label, count, figures.url(Kind.KEY, name))
        rows.append(KeyRow(facts.family, number, allowed.is_weak(name)))
    return sorted(rows, key=lambda row: (row.algorithm, -row.number.count))


def weak_keys(figures: Figures, allowed: AllowedNow) -> list[Number]:
    """Return all certificates on keys that the policy does not allow; nothing without any."""
    weak = sorted(name for name in figures.of(Kind.KEY) if allowed.is_weak(name))
    if not weak:
        return []
    sought = CertificateFilter(state=StateGroup.ACTIVE.value, key=",".join(weak))
    count = sum(figures.count(Kind.KEY, name) for name in weak)
    advice = "Renew them with a new key that the policy allows."
    return [Number(f"are on keys that policy {allowed.version} does not allow", count, sought.url(), advice)]


def is_allowed(rule: AllowedKeys, name: str) -> bool:
    """Return whether the rule allows a kind of key; sizes that the portal does not offer are not allowed."""
    try:
        return rule.allows(*key_from_name(name))
    except ValueError:
        return False


def cas(figures: Figures) -> list[Number]:
    """Return the certificates of each CA, the most first."""
    names = dict(Issuer.objects.values_list("slug", "name"))
    return [Number(names.get(slug, slug), count, figures.url(Kind.ISSUER, slug)) for slug, count in figures.of(Kind.ISSUER).items()]


def team_rows(figures: Figures, teams: Collection[int] | None) -> tuple[list[TeamRow], int]:
    """Return the TEAMS_SHOWN teams with the most certificates, and how many others there are."""
    counted = by_team(Kind.ACTIVE, teams=teams)
    by_person = counts_by_team(Kind.OBSTACLE, _PERSON, teams=teams)
    shown = counted[:TEAMS_SHOWN]
    return [_row(figures, team, count, by_person.get(team.pk, 0)) for team, count in shown], len(counted) - len(shown)


def not_automated(figures: Figures, teams: Collection[int] | None) -> tuple[list[TeamRow], int]:
    """Return the teams with the most certificates that nothing renews, and how many others there are."""
    counted = by_team(Kind.OBSTACLE, _PERSON, teams=teams)
    active = counts_by_team(Kind.ACTIVE, teams=teams)
    shown = counted[:NOT_AUTOMATED_SHOWN]
    return [_row(figures, team, active.get(team.pk, count), count) for team, count in shown], len(counted) - len(shown)


def _row(figures: Figures, team: Team, active: int, by_person: int) -> TeamRow:
    return TeamRow(
        team,
        Number(team.name, active, figures.url(Kind.ACTIVE, team=team.slug)),
        Number(team.name, by_person, figures.url(Kind.OBSTACLE, _PERSON, team=team.slug)),
    )
