"""The orders of the list of certificates, each as groups that an index serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.db.models import Q, TextChoices

from certs.errors import InputRefused
from certs.inventory.filters import RENEWED, CertificateFilter, Renewal, RenewalGroup
from certs.inventory.listing.key_types import key_types, key_types_named
from certs.inventory.listing.paging import Group, reverse
from certs.inventory.listing.served import Served, served_condition
from certs.inventory.search import Match, Named
from certs.inventory.states import CertificateState, due_until, in_state
from certs.models import Certificate, Issuer, Team

Teams = frozenset[int] | None  # ids of the teams that are seen; None for every team


class Sort(TextChoices):
    """The columns by which the list is sorted. With a minus before it, the other way round."""

    MATCH = "match", "best match"
    ENDS = "ends", "end"
    NEWEST = "newest", "newest first"
    NAME = "name", "name"
    STATE = "state", "state"
    RENEWAL = "renewal", "renewal"
    KEY = "key", "key"
    CA = "issuer", "CA"
    TEAM = "team", "team"
    SERVED = "served", "served"


# What needs somebody comes first, what is over comes last.
_STATES = (
    CertificateState.NEEDS_YOU,
    CertificateState.RENEW_SOON,
    CertificateState.RENEWING,
    CertificateState.VALID,
    CertificateState.ON_HOLD,
    CertificateState.RENEWED,
    CertificateState.BEING_REVOKED,
    CertificateState.EXPIRED,
    CertificateState.REVOKED,
)
_REVOKED = frozenset({CertificateState.ON_HOLD, CertificateState.BEING_REVOKED, CertificateState.REVOKED})
_IN_FORCE = frozenset(_STATES) - _REVOKED - {CertificateState.EXPIRED}
_PAST = "past"
_RENEWALS = (Renewal.BLOCKED, Renewal.BY_HAND, Renewal.OFF, Renewal.ITSELF)
_WITHIN_RENEWAL: dict[str, tuple[Renewal, ...]] = {one.value: (one,) for one in Renewal} | {
    RenewalGroup.PERSON.value: (Renewal.BLOCKED, Renewal.BY_HAND, Renewal.OFF),
    RenewalGroup.NOBODY.value: (Renewal.BY_HAND, Renewal.OFF),
    **dict.fromkeys((RenewalGroup.REFUSED.value, RenewalGroup.APPROVAL.value, RenewalGroup.FAILED.value), (Renewal.BLOCKED,)),
}


def states_within(sought: CertificateFilter) -> frozenset[CertificateState]:
    """Return the states that certificates which meet the filter can have."""
    found = frozenset(_STATES)
    if sought.state:
        found &= {CertificateState(sought.state)} if sought.state in CertificateState.values else _IN_FORCE
    if sought.status or sought.revoked_after or sought.revoked_before:
        found &= _REVOKED
    if sought.expiring or sought.policy:
        found &= _IN_FORCE
    return found


def groups_of(sort: str, named: Named | None, *, teams: Teams, sought: CertificateFilter, now: datetime) -> list[Group]:
    """Return the groups of an order: where none is named, the best match for a text, or by end.

    Groups in which nothing that meets the filter can be are left out. Raises InputRefused for an
    order that the list does not have.
    """
    check_sort(sort)
    states = states_within(sought)
    name = sort.removeprefix("-")
    chosen = Sort(name) if name else Sort.MATCH if named else Sort.ENDS
    if chosen is Sort.ENDS or (chosen is Sort.MATCH and named is None):
        groups = _by_end(states, now)
        if sort.startswith("-") and len(groups) > 1 and groups[-1].key == _PAST:
            # The latest end first: what has ended stays behind what has not, the last that ended first.
            return [*(replace(one, descending=True) for one in groups[:-1]), groups[-1]]
    elif chosen is Sort.MATCH and named is not None:
        groups = _by_match(named, _by_end(states, now))
    else:
        groups = _by_column(chosen, teams=teams, sought=sought, now=now)
    return reverse(groups) if sort.startswith("-") else groups


def _by_column(sort: Sort, *, teams: Teams, sought: CertificateFilter, now: datetime) -> list[Group]:
    match sort:
        case Sort.TEAM:
            return _by_team(teams, sought.team)
        case Sort.STATE:
            return _by_state(states_within(sought), now)
        case Sort.KEY:
            return _by_key(sought.key)
        case Sort.CA:
            return _by_issuer(sought.issuer)
        case Sort.RENEWAL:
            return _by_renewal(sought.renewal)
        case Sort.SERVED:
            return _by_served(sought.served)
        case Sort.NAME:
            return [Group.meeting("all", Q(), "common_name")]
    return [Group.meeting("all", Q(), "pk", descending=True)]


def check_sort(sort: str) -> None:
    """Raise InputRefused for an order that the list does not have."""
    if sort and sort.removeprefix("-") not in Sort.values:
        raise InputRefused(
            "The list has no such order.",
            field="sort",
            next_step=f"It is one of {', '.join(Sort.values)}; with a minus the other way round.",
        )


def _by_end(states: frozenset[CertificateState], now: datetime) -> list[Group]:
    """In force by their end, then everything else, the last that ended first.

    Two ranges instead of "not in force": each is a range of an index.
    """
    in_force = Q(status=Certificate.Status.GOOD, not_after__gte=now)
    # As the index `certificate_not_good` says it.
    revoked = Group.meeting("revoked", Q(~Q(status=Certificate.Status.GOOD), not_after__gte=now))
    past = Group.meeting(_PAST, Q(not_after__lt=now), descending=True)
    if states == {CertificateState.VALID}:
        # What is valid and ends before others become due is rare, and after thousands that are due.
        until = due_until(now)
        return [
            Group.meeting("soon", Q(in_force, not_after__lte=until, alert_at__gt=now)),
            Group.meeting("in", Q(in_force, not_after__gt=until)),
        ]
    found = [Group.meeting("in", in_force)] if states & _IN_FORCE else []
    if states & _REVOKED:
        found.append(revoked)
    return found if states <= _IN_FORCE else [*found, past]


def _by_match(named: Named, by_end: Sequence[Group]) -> list[Group]:
    """Whole names, then names that begin so, then the rest; each by end."""

    def of(match: Match, one: Group) -> Group:
        return Group(
            f"{match}.{one.key}",
            lambda rows: one.rows(named.matching(rows, match)),
            one.column,
            one.descending,
        )

    return [of(match, one) for match in Match if named.has(match) for one in by_end]


def _by_state(states: frozenset[CertificateState], now: datetime) -> list[Group]:
    def of(state: CertificateState) -> Group:
        return Group(state.value, lambda rows: in_state(rows, state, now))

    return [of(state) for state in _STATES if state in states]


def _by_renewal(sought: str) -> list[Group]:
    possible = _WITHIN_RENEWAL.get(sought, _RENEWALS)
    return [Group.meeting(renewal.value, RENEWED[renewal.value]) for renewal in _RENEWALS if renewal in possible]


def _by_key(sought: str) -> list[Group]:
    possible = key_types_named(sought) if sought else key_types()
    return [Group.meeting(one, Q(key_type=one)) for one in key_types() if one in possible]


def _by_issuer(sought: str) -> list[Group]:
    rows = Issuer.objects.filter(slug=sought) if sought else Issuer.objects.all()
    return [Group.referring("issuer", pk) for pk in rows.order_by("name", "pk").values_list("pk", flat=True)]


def _by_team(teams: Teams, team: str) -> list[Group]:
    rows = Team.objects.all() if teams is None else Team.objects.filter(pk__in=teams)
    rows = rows.filter(slug=team) if team else rows
    return [Group.referring("team", pk) for pk in rows.order_by("name", "pk").values_list("pk", flat=True)]


def _by_served(sought: str) -> list[Group]:
    def of(served: Served) -> Group:
        return Group(served.value, lambda rows: served_condition(rows, served))

    return [of(served) for served in (Served.OLD, Served.YES, Served.NO) if sought in ("", served)]
