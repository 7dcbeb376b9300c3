"""What is counted of the inventory, by team, and the filter that lists what each figure counts.

Every figure has a `CertificateFilter`: its count and the length of that list are the same, as of
the moment of the count. Tests and `verify_states` compare the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache

from django.db.models import Case, CharField, Count, Q, Value, When
from django.db.models.functions import TruncDate, TruncWeek

from certs.access.owners import NOBODY
from certs.inventory.filters import (
    CertificateFilter,
    Compliance,
    Renewal,
    RenewalGroup,
    StateGroup,
    YesNo,
    facts_of,
    filter_certificates,
    how_renewed,
)
from certs.inventory.states import CertificateState, active
from certs.models import Certificate, Issuer, RenewalBlocked

WEEKS = 26
DAYS_AHEAD = 30
EXPIRED_DAYS = 90
REVOKED_DAYS = 30
REGIMES = (200, 100, 47)  # the longest validity in days, CA/Browser Forum ballot SC-081v3
# NIST IR 8547 (draft): RSA and elliptic curves are deprecated after 2030 and disallowed after 2035.
HORIZONS = ("2031-01-01", "2036-01-01")


class Kind(StrEnum):
    """What a figure is about. The value of each is said beside it."""

    STATE = "state"  # of CertificateState
    ACTIVE = "active"  # empty
    RENEWAL = "renewal"  # of Renewal; active ones
    WEEK = "week"  # Monday and Renewal, as in `2026-11-30 itself`; active ones that end in it
    KEY = "key"  # key type; active ones
    ISSUER = "issuer"  # slug of the CA; active ones
    LONGER = "longer"  # of REGIMES; active ones whose validity is longer
    BEYOND = "beyond"  # of HORIZONS; active ones that end on that day or later
    OBSTACLE = "obstacle"  # of RenewalGroup; active ones that nothing renews, and why
    RENEWED = "renewed"  # a day; renewals issued on it: the day of the count, and the day before
    NEED = "need"  # key of a Need
    REVOKED = "revoked"  # a day; revoked on it or later: REVOKED_DAYS before the day of the count
    POLICY = "policy"  # of Compliance; certificates in force: those that fail
    OWNER = "owner"  # `none`; whatever their state
    LIFE = "life"  # slug of the CA and days of validity, as in `internal 90`; active ones, all teams


@dataclass(frozen=True, slots=True)
class Need:
    """Something for which certificates need a person, with the list of those that do."""

    key: str
    label: str
    advice: str
    sought: Callable[[date], CertificateFilter]


NEEDS = (
    Need(
        "ends_unrenewed",
        f"end within {DAYS_AHEAD} days, and nothing renews them",
        "Each has its one action in the list below.",
        lambda day: CertificateFilter(
            state=StateGroup.ACTIVE.value,
            renewal=RenewalGroup.PERSON.value,
            ends_before=day + timedelta(days=DAYS_AHEAD + 1),
        ),
    ),
    Need(
        "not_installed",
        "are renewed, and a server still uses the old one",
        "Install the new certificate: its page says where the old one was seen.",
        lambda _day: CertificateFilter(state=CertificateState.NEEDS_YOU.value, replaced=YesNo.YES.value),
    ),
    Need(
        "blocked",
        "could not be renewed",
        "The portal tried. The page of each says what refused it.",
        lambda _day: CertificateFilter(state=StateGroup.ACTIVE.value, renewal=Renewal.BLOCKED.value),
    ),
    Need(
        "expired",
        f"expired in the last {EXPIRED_DAYS} days without replacement",
        "A server that still uses one shows an error to every client.",
        lambda day: CertificateFilter(
            state=CertificateState.EXPIRED.value,
            ends_after=day - timedelta(days=EXPIRED_DAYS),
            replaced=YesNo.NO.value,
        ),
    ),
    Need(
        "outside_policy",
        "would be refused by the policy today",
        "Renew them as the policy asks, before their renewal is refused.",
        lambda _day: CertificateFilter(state=StateGroup.ACTIVE.value, policy=Compliance.FAILS.value),
    ),
    Need(
        "no_owner",
        "have no owner",
        "No active member of the team answers for them. Name an owner on the page of each.",
        lambda _day: CertificateFilter(state=StateGroup.ACTIVE.value, owner=NOBODY),
    ),
    Need(
        "blocked_keys",
        "use a blocked key",
        "Others know the key. Replace them with a new key, then revoke them.",
        lambda _day: CertificateFilter(state=StateGroup.ACTIVE.value, blocked_key=YesNo.YES.value),
    ),
)

_OBSTACLES = {
    RenewalBlocked.NEEDS_CSR.value: (RenewalGroup.PERSON,),
    RenewalBlocked.POLICY.value: (RenewalGroup.PERSON, RenewalGroup.REFUSED),
    RenewalBlocked.APPROVAL.value: (RenewalGroup.PERSON, RenewalGroup.APPROVAL),
    RenewalBlocked.FAILED.value: (RenewalGroup.PERSON, RenewalGroup.FAILED),
}

Counted = Counter[tuple[int | None, Kind, str]]


_EVERYTHING = CertificateFilter(state=StateGroup.ACTIVE.value)


def _ends_in_week(value: str) -> CertificateFilter:
    monday, renewal = value.split()
    first = date.fromisoformat(monday)
    return replace(_EVERYTHING, renewal=renewal, ends_after=first, ends_before=first + timedelta(days=7))


def _renewed_on(value: str) -> CertificateFilter:
    first = date.fromisoformat(value)
    after = first + timedelta(days=1)
    return CertificateFilter(is_renewal=YesNo.YES.value, issued_after=first, issued_before=after)


# By kind: the filter of a value. NEED depends on the day of the count; LIFE is no list.
_FILTERS: dict[Kind, Callable[[str], CertificateFilter]] = {
    Kind.STATE: lambda value: CertificateFilter(state=value),
    Kind.ACTIVE: lambda _value: _EVERYTHING,
    Kind.RENEWAL: lambda value: replace(_EVERYTHING, renewal=value),
    Kind.OBSTACLE: lambda value: replace(_EVERYTHING, renewal=value),
    Kind.WEEK: _ends_in_week,
    Kind.KEY: lambda value: replace(_EVERYTHING, key=value),
    Kind.ISSUER: lambda value: replace(_EVERYTHING, issuer=value),
    Kind.LONGER: lambda value: replace(_EVERYTHING, longer_than=int(value)),
    Kind.BEYOND: lambda value: replace(_EVERYTHING, ends_after=date.fromisoformat(value)),
    Kind.RENEWED: _renewed_on,
    Kind.REVOKED: lambda value: CertificateFilter(revoked_after=date.fromisoformat(value)),
    Kind.POLICY: lambda value: CertificateFilter(policy=value),
    Kind.OWNER: lambda value: CertificateFilter(owner=value),
}


def filter_of(kind: Kind, value: str, *, day: date) -> CertificateFilter:
    """Return the filter that lists what the figure counts. `day`: that of the count (UTC).

    Raises KeyError for LIFE, which has no list: days of validity are compared there.
    """
    if kind is Kind.NEED:
        return next(need for need in NEEDS if need.key == value).sought(day)
    return _FILTERS[kind](value)


@lru_cache(maxsize=2)
def figures_by_filter(day: date) -> Mapping[CertificateFilter, tuple[Kind, str]]:
    """Return the figures with lists that people open by themselves, by the filter of the list.

    Nothing of a kind whose values depend on what there is (KEY, ISSUER), or that has many (WEEK).
    """
    known = [(Kind.STATE, state.value) for state in CertificateState]
    known += [(Kind.RENEWAL, renewal.value) for renewal in Renewal]
    known += [(Kind.OBSTACLE, group.value) for groups in _OBSTACLES.values() for group in groups]
    known += [(kind, value) for kind, value, _ in _of_lives()]
    known += [(Kind.NEED, need.key) for need in NEEDS]
    known += [(Kind.ACTIVE, ""), (Kind.POLICY, Compliance.FAILS.value), (Kind.OWNER, NOBODY)]
    return {filter_of(kind, value, day=day): (kind, value) for kind, value in known}


def revoked_since(day: date) -> date:
    """Return the first day from which revocations are counted on `day`."""
    return day - timedelta(days=REVOKED_DAYS)


def mondays(day: date) -> list[date]:
    """Return the Mondays of the weeks that are counted; the first week is that of `day`."""
    first = day - timedelta(days=day.weekday())
    return [first + timedelta(weeks=number) for number in range(WEEKS)]


def count_all(now: datetime) -> Counted:
    """Count everything, each by team and for all teams. Some passes over the inventory.

    The figures belong together only if the transaction reads as of one moment.
    """
    found: Counted = Counter()
    for part in (_ends, _lives, _filtered):
        for team, kind, value, count in part(now):
            found[None, kind, value] += count
            if kind is not Kind.LIFE:
                found[team, kind, value] += count
    return found


_Rows = Iterator[tuple[int, Kind, str, int]]


def _ends(now: datetime) -> _Rows:
    """Yield what one pass over the active certificates tells: week of the end, renewal, key, CA, and facts of their life."""
    slugs = dict(Issuer.objects.values_list("pk", "slug"))
    weeks = set(mondays(now.astimezone(UTC).date()))
    off = Case(When(renewal_off_reason="", then=Value("")), default=Value("off"), output_field=CharField())
    rows = (
        active(Certificate.objects.all(), now=now)
        .order_by()
        .annotate(week=TruncWeek("not_after", tzinfo=UTC), off=off)
        .values_list("team_id", "issuer_id", "key_type", "week", "renewal_blocked", "off")
        .annotate(number=Count("pk"), **{f"{kind}_{n}": Count("pk", filter=facts) for n, (kind, _, facts) in enumerate(_of_lives())})
    )
    for team, issuer, key, week, blocked, is_off, number, *of_lives in rows.iterator():
        for (kind, value, _), meeting in zip(_of_lives(), of_lives, strict=True):
            if meeting:
                yield team, kind, value, meeting
        renewal = how_renewed(blocked, is_off)
        yield team, Kind.ACTIVE, "", number
        yield team, Kind.RENEWAL, renewal.value, number
        yield team, Kind.KEY, key, number
        yield team, Kind.ISSUER, slugs[issuer], number
        for obstacle in _OBSTACLES.get(blocked, ()) if renewal is not Renewal.OFF else (RenewalGroup.PERSON,):
            yield team, Kind.OBSTACLE, obstacle.value, number
        if week.date() in weeks:
            yield team, Kind.WEEK, f"{week.date().isoformat()} {renewal.value}", number


@cache
def _of_lives() -> tuple[tuple[Kind, str, Q], ...]:
    """Return kind, value and condition of what is counted beside: a pass for each of the five takes as long as that of all."""
    wanted = [*((Kind.LONGER, str(days)) for days in REGIMES), *((Kind.BEYOND, horizon) for horizon in HORIZONS)]
    return tuple((kind, value, facts_of(_FILTERS[kind](value))) for kind, value in wanted)


def _lives(now: datetime) -> _Rows:
    slugs = dict(Issuer.objects.values_list("pk", "slug"))
    rows = (
        active(Certificate.objects.all(), now=now)
        .order_by()
        .annotate(first=TruncDate("not_before", tzinfo=UTC), last=TruncDate("not_after", tzinfo=UTC))
        .values_list("issuer_id", "first", "last")
        .annotate(number=Count("pk"))
    )
    for issuer, first, last, number in rows.iterator():
        yield 0, Kind.LIFE, f"{slugs[issuer]} {max(1, (last - first).days)}", number


def _filtered(now: datetime) -> _Rows:
    """Yield what is counted by the filter of its list, one query each.

    States too: each condition alone is joined by a hash, where one CASE over all states would look
    renewals and requests up for every row (2 s instead of 1 s with 100,000 certificates).
    """
    day = now.astimezone(UTC).date()
    wanted = [(Kind.STATE, state.value) for state in CertificateState]
    wanted += [(Kind.RENEWED, (day - timedelta(days=back)).isoformat()) for back in (0, 1)]
    wanted += [(Kind.NEED, need.key) for need in NEEDS]
    wanted.append((Kind.REVOKED, revoked_since(day).isoformat()))
    wanted.append((Kind.POLICY, Compliance.FAILS.value))
    wanted.append((Kind.OWNER, NOBODY))
    for kind, value in wanted:
        yield from _by_team(kind, value, now)


def _by_team(kind: Kind, value: str, now: datetime) -> _Rows:
    sought = filter_of(kind, value, day=now.astimezone(UTC).date())
    rows = filter_certificates(Certificate.objects.all(), sought, now=now).order_by()
    for team, number in rows.values_list("team_id").annotate(number=Count("pk")):
        yield team, kind, value, number


def listed(kind: Kind, value: str, *, team: str = "", day: date) -> CertificateFilter:
    """Return the filter of a figure, of one team where its slug is given."""
    return replace(filter_of(kind, value, day=day), team=team)
