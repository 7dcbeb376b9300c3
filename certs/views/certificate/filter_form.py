"""The fields of the inventory's filter on a page, and the filters in force as words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.http import urlencode

from certs.access.owners import NOBODY
from certs.inventory import CertificateFilter, CertificateState, Renewal, RenewalGroup, StateGroup
from certs.models import Issuer, Team
from certs.models.people.permission import teams_seen_by
from keys.spec import KeySpec

_EXPIRING = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"))
_OFFERED = 200  # teams in a list; beyond that people search by name

_WORDS = {
    "q": "contains {}",
    "status": "status {}",
    "expiring": "ends within {} days",
    "ends_after": "ends on {} or later",
    "ends_before": "ends before {}",
    "issued_after": "issued on {} or later",
    "issued_before": "issued before {}",
    "revoked_after": "revoked on {} or later",
    "revoked_before": "revoked before {}",
    "reviewed_before": "not reviewed since {}",
    "tag": "tag {}",
    "spki": "public key {}",
    "blocked_key": "blocked key: {}",
    "critical": "critical function: {}",
    "replaced": "renewed: {}",
    "is_renewal": "is a renewal: {}",
    "longer_than": "valid for more than {} days",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A select of the form."""

    name: str
    label: str
    choices: Sequence[tuple[str, str]]
    value: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force, and the address of the list without it."""

    text: str
    url: str


def filter_form(request: HttpRequest, sought: CertificateFilter) -> list[Field]:
    """Return the selects, with the teams and owners that the user may see."""
    seen = teams_seen_by(request.user)
    teams = Team.objects.order_by("name") if seen is None else Team.objects.filter(pk__in=seen).order_by("name")
    me = request.user.get_username()
    choices: dict[str, tuple[str, Sequence[tuple[str, str]]]] = {
        "state": ("State", [*StateGroup.choices, *CertificateState.choices]),
        "expiring": ("Ends within", _EXPIRING),
        "renewal": ("Renewal", [*Renewal.choices, *RenewalGroup.choices]),
        "owner": ("Owner", [(me, f"you ({me})"), (NOBODY, "without owner")]),
        "team": ("Team", list(teams.values_list("slug", "name")[:_OFFERED])),
        "issuer": ("CA", list(Issuer.objects.exclude(alias="").order_by("name").values_list("slug", "name"))),
        "key": ("Key", [(one.value, one.label) for one in KeySpec]),
    }
    query = sought.to_query()
    fields = []
    for name, (label, offered) in choices.items():
        value = query.get(name, "")
        known = not value or value in {one for one, _ in offered}
        # A value from a link stays in force when the form is sent.
        more = [] if known else [(value, value)]
        fields.append(Field(name, label, [*offered, *more], value))
    return fields


def chips(sought: CertificateFilter, *, base: str) -> list[Chip]:
    """Return the filters in force that the selects do not show, as words; `base`: the list's path."""
    empty = CertificateFilter()
    return [
        Chip(words.format(getattr(sought, name)), _without(sought, name, base))
        for name, words in _WORDS.items()
        if getattr(sought, name) != getattr(empty, name) and name not in ("q", "expiring")
    ]


def _without(sought: CertificateFilter, name: str, base: str) -> str:
    query = {one: value for one, value in sought.to_query().items() if one != name}
    return f"{base}?{urlencode(query)}" if query else base
