"""What pages show of people: lists, members of a team, and everything that belongs to one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, Q, QuerySet

from certs.access.roles import ROLE_WORDS
from certs.access.sessions import sessions_of
from certs.errors import InputRefused
from certs.inventory import active
from certs.models import ApiToken, Certificate, Team
from db.clock import database_now

MOST_MEMBERS = 500
PAGE = 50
SHOW = {"": "everybody", "on": "active", "off": "switched off", "role": "with a role", "alone": "in no team"}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a team. `leads`: the person also leads it."""

    person: Any
    leads: bool


def members_of(team: Team) -> list[Member]:
    """Return the members of a team, leads first, then by name; the first MOST_MEMBERS."""
    lead = Team.leads.through.objects.filter(team_id=team.pk, user_id=OuterRef("pk"))
    rows = get_user_model().objects.filter(teams=team).annotate(leads_it=Exists(lead))
    ordered = rows.order_by("-leads_it", "-is_active", "username")[:MOST_MEMBERS]
    return [Member(one, bool(one.leads_it)) for one in ordered]


def people(*, q: str = "", show: str = "", after: str = "") -> list[Any]:
    """Return a page of people by account name, with roles and teams; one more than PAGE where there are more.

    Raises InputRefused for a choice that there is not.
    """
    if show not in SHOW:
        raise InputRefused("There is no such choice.", field="show", next_step="Choose from the list.")
    rows = get_user_model().objects.order_by("username").prefetch_related("groups", "teams", "led_teams")
    second = Authenticator.objects.filter(user=OuterRef("pk")).exclude(type=Authenticator.Type.RECOVERY_CODES)
    rows = rows.annotate(has_second_factor=Exists(second))
    if after:
        rows = rows.filter(username__gt=after)
    for word in q.split()[:5]:
        hit = Q(username__icontains=word) | Q(email__icontains=word) | Q(first_name__icontains=word) | Q(last_name__icontains=word)
        rows = rows.filter(hit)
    return list(_shown(rows, show)[: PAGE + 1])


def _shown(rows: QuerySet[Any], show: str) -> QuerySet[Any]:
    match show:
        case "on":
            return rows.filter(is_active=True)
        case "off":
            return rows.filter(is_active=False)
        case "role":
            role = Group.objects.filter(user=OuterRef("pk")).exclude(name__in=("requester", "requesters"))
            return rows.filter(Q(is_superuser=True) | Exists(role))
        case "alone":
            return rows.filter(~Exists(Team.members.through.objects.filter(user_id=OuterRef("pk"))))
        case _:
            return rows


@dataclass(frozen=True, slots=True)
class Role:
    """A role of a person, and what it may do, in words. `group` is None for what is no role of the portal."""

    name: str
    words: str
    group: Group | None = None


def roles_of(person: Any) -> list[Role]:
    """Return what a person may do beyond the person's teams."""
    other = "What this installation gave the group."
    found = [Role(one.name, ROLE_WORDS.get(one.name, other), one) for one in person.groups.order_by("name")]
    if person.is_superuser:
        found.insert(0, Role("administrator", "Everything, in every team, and the administration."))
    elif person.is_staff:
        found.append(Role("staff", "May open the administration, and do there what the roles allow."))
    return found


@dataclass(frozen=True, slots=True)
class Belongings:
    """What belongs to an account."""

    sessions: Sequence[Any]
    tokens: Sequence[ApiToken]
    owned: int
    nearest: Sequence[Certificate]
    second_factors: Sequence[str]


MOST_COUNTED = 1_000


def belongings_of(person: Any, *, seen: frozenset[int] | None) -> Belongings:
    """Return sessions, tokens, certificates and second factors of a person.

    `seen`: ids of the teams that the reader may see, None for every team. Certificates are counted up to MOST_COUNTED.
    """
    now = database_now()
    rows = active(Certificate.objects.filter(owner=person), now=now)
    tokens = ApiToken.objects.filter(user=person, revoked_at=None, expires_at__gt=now)
    if seen is not None:
        rows, tokens = rows.filter(team__in=seen), tokens.filter(team__in=seen)
    return Belongings(
        sessions=list(sessions_of(person)[:50]),
        tokens=list(tokens.select_related("team").order_by("expires_at", "pk")[:100]),
        owned=rows.order_by()[: MOST_COUNTED + 1].count(),
        nearest=list(rows.select_related("request", "team").order_by("not_after", "pk")[:5]),
        second_factors=_second_factors(person),
    )


def _second_factors(person: Any) -> list[str]:
    words = {Authenticator.Type.TOTP: "code app", Authenticator.Type.WEBAUTHN: "passkey"}
    kinds = list(Authenticator.objects.filter(user=person).order_by("type").values_list("type", flat=True))
    return [words[Authenticator.Type(kind)] for kind in kinds if kind in words]
