"""The fields of the inventory's filter on a page, and the filters in force as words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils.http import urlencode

from certs.access.owners import NOBODY
from certs.inventory import (
    RULE_CHOICES,
    CertificateFilter,
    CertificateState,
    Compliance,
    Renewal,
    RenewalGroup,
    Source,
    StateGroup,
)
from certs.inventory.listing.served import Served
from certs.inventory.listing.sorts import Teams
from certs.models import Issuer, Team
from keys.spec import KeySpec
from policy.models import Profile

_EXPIRING = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"))
_OFFERED = 200  # teams in a list; beyond that people search by name
_WEAK = (("rsa<3072", "RSA below 3072"), ("rsa<4096", "RSA below 4096"))
# The fields that are always open; the others are behind a fold.
_FIRST = ("state", "expiring", "team", "key", "policy")
_NAMED = {"team": "team", "issuer": "CA", "profile": "profile"}

# Filters in force that have no select.
_WORDS = {
    "status": "status {}",
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
    """A select of the form, or a text field where it has no choices."""

    name: str
    label: str
    value: str
    choices: Sequence[tuple[str, str]] = ()
    most: int = 64
    unknown: str = ""  # what the value would be the name of, where there is no such thing

    @property
    def words(self) -> str:
        """Return the choice in force, as people read it."""
        return dict(self.choices).get(self.value, self.value)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields that are always open, and those behind a fold."""

    first: list[Field]
    more: list[Field]

    @property
    def selects(self) -> list[Field]:
        """Return the fields with choices."""
        return [field for field in (*self.first, *self.more) if field.choices]

    @property
    def unknown(self) -> list[Field]:
        """Return the fields whose value names nothing that the user may see."""
        return [field for field in self.selects if field.unknown]

    @property
    def is_open(self) -> bool:
        """Whether a field behind the fold is in use."""
        return any(field.value for field in self.more)


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force, and the address of the list without it."""

    text: str
    url: str


def named_choices(seen: Teams) -> dict[str, list[tuple[str, str]]]:
    """Return the teams that the user may see and the CAs, by parameter: short names with titles."""
    teams = Team.objects.order_by("name")
    if seen is not None:
        teams = teams.filter(pk__in=seen)
    issuers = Issuer.objects.exclude(alias="").order_by("name")
    return {
        "team": list(teams.values_list("slug", "name")[:_OFFERED]),
        "issuer": list(issuers.values_list("slug", "name")),
    }


def filter_form(request: HttpRequest, sought: CertificateFilter, seen: Teams) -> Form:
    """Return the fields, with the owners and teams that the user may see (`Authority.sees`)."""
    named = named_choices(seen)
    profiles = Profile.objects.order_by("name").values_list("name", "name")
    me = request.user.get_username()
    choices: dict[str, tuple[str, Sequence[tuple[str, str]]]] = {
        "state": ("State", [*CertificateState.choices, *StateGroup.choices]),
        "expiring": ("Ends within", _EXPIRING),
        "team": ("Team", named["team"]),
        "key": ("Key", [*_WEAK, *((one.value, one.label) for one in KeySpec)]),
        "policy": ("Policy", [*Compliance.choices, *RULE_CHOICES]),
        "owner": ("Owner", [(me, f"you ({me})"), (NOBODY, "without owner")]),
        "issuer": ("CA", named["issuer"]),
        "profile": ("Profile", list(profiles)),
        "renewal": ("Renewal", [*Renewal.choices, *RenewalGroup.choices]),
        "served": ("Served", Served.choices),
        "source": ("Requested by", Source.choices),
    }
    query = sought.to_query()
    fields = []
    for name, (label, offered) in choices.items():
        value = query.get(name, "")
        known = not value or value in {one for one, _ in offered}
        # A value from a link stays in force when the form is sent.
        more = [] if known else [(value, value)]
        unknown = _NAMED.get(name, "") if not known and len(offered) < _OFFERED else ""
        fields.append(Field(name, label, value, [*offered, *more], unknown=unknown))
    texts = [
        Field("tag", "Tag", query.get("tag", ""), most=32),
        Field("spki", "Public key (SHA-256)", query.get("spki", ""), most=100),
    ]
    return Form(
        [field for field in fields if field.name in _FIRST],
        [*(field for field in fields if field.name not in _FIRST), *texts],
    )


def chips(sought: CertificateFilter, form: Form, sort: str = "", *, base: str) -> list[Chip]:
    """Return the filters in force as words, each with the list without it; `base`: the list's path.

    All but the text, which has a field that shows it.
    """
    query = sought.to_query()
    words = {field.name: f"{field.label}: {field.words}" for field in form.selects if field.value}
    words |= {name: text.format(query[name]) for name, text in _WORDS.items() if name in query}
    kept = query | ({"sort": sort} if sort else {})

    def without(name: str) -> str:
        rest = urlencode({one: value for one, value in kept.items() if one != name})
        return f"{base}?{rest}" if rest else base

    return [Chip(text, without(name)) for name, text in words.items()]
