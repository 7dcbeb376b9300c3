"""The numbers of the estate page, each with the address of the list that it counts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.conf import settings

from certs.estate import ending
from certs.estate.ending import Ending
from certs.inventory.counting import NEEDS, Kind, mondays
from certs.inventory.figures import Figures, by_team
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
    """Return the weeks of the next half year."""
    return [
        Week(
            monday,
            tuple(
                Number(
                    words,
                    figures.count(Kind.WEEK, f"{monday} {renewal}"),
                    figures.url(Kind.WEEK, f"{monday} {renewal}"),
                )
                for renewal, words in SERIES
            ),
        )
        for monday in mondays(figures.day)
    ]


def keys(figures: Figures, now: datetime) -> tuple[list[KeyRow], str]:
    """Return the kinds of keys with their counts, and the version of the policy that judges them.

    The version is empty where no policy is in force; then no key counts as weak.
    """
    rule, version = _allowed_keys(now)
    rows = [
        KeyRow(
            KeyFacts.from_name(name).family,
            Number(KeyFacts.from_name(name).label, count, figures.url(Kind.KEY, name)),
            rule is not None and not is_allowed(rule, name),
        )
        for name, count in figures.of(Kind.KEY).items()
    ]
    return sorted(rows, key=lambda row: (row.algorithm, -row.number.count)), version


def weak_keys(figures: Figures, now: datetime) -> Number | None:
    """Return all certificates on keys that the policy does not allow; None without any."""
    rule, version = _allowed_keys(now)
    if rule is None:
        return None
    weak = sorted(name for name in figures.of(Kind.KEY) if not is_allowed(rule, name))
    if not weak:
        return None
    sought = CertificateFilter(state=StateGroup.ACTIVE.value, key=",".join(weak))
    count = sum(figures.count(Kind.KEY, name) for name in weak)
    advice = "Renew them with a new key that the policy allows."
    return Number(f"are on keys that policy {version} does not allow", count, sought.url(), advice)


def is_allowed(rule: AllowedKeys, name: str) -> bool:
    """Return whether the rule allows a kind of key; sizes that the portal does not offer are not allowed."""
    try:
        return rule.allows(*key_from_name(name))
    except ValueError:
        return False


def _allowed_keys(now: datetime) -> tuple[AllowedKeys | None, str]:
    try:
        version = version_in_force(settings.PKI_DEFAULT_POLICY, now)
    except PolicyMissing:
        return None, ""
    return version.ruleset.rule(AllowedKeys), version.version


def cas(figures: Figures) -> list[Number]:
    """Return the certificates of each CA, the most first."""
    names = dict(Issuer.objects.values_list("slug", "name"))
    return [Number(names.get(slug, slug), count, figures.url(Kind.ISSUER, slug)) for slug, count in figures.of(Kind.ISSUER).items()]


def team_rows(figures: Figures, teams: Collection[int] | None) -> list[TeamRow]:
    """Return each team with its certificates, the most first."""
    person = RenewalGroup.PERSON.value
    by_person = {team.pk: count for team, count in by_team(Kind.OBSTACLE, person, teams=teams)}
    return [
        TeamRow(
            team,
            Number(team.name, count, figures.url(Kind.ACTIVE, team=team.slug)),
            Number(team.name, by_person.get(team.pk, 0), figures.url(Kind.OBSTACLE, person, team=team.slug)),
        )
        for team, count in by_team(Kind.ACTIVE, teams=teams)
    ]
