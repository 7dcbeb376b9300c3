"""Certificates handed over to another owner by people: one, a selection, or all of a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Count, Max, QuerySet, Sum

from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Authority
from certs.errors import InputRefused, NotFound, NotPermitted
from certs.inventory import active
from certs.models import Certificate, Team
from certs.people import preview
from certs.requests.owner_change import check_may_own, hand_over
from db.clock import database_now

MOST_CHOSEN = 200


@dataclass(frozen=True, slots=True)
class Possession:
    """The certificates in use that a person owns and the actor may act on."""

    person: Any
    rows: QuerySet[Certificate]
    count: int
    fact: str
    teams: frozenset[int]

    @property
    def sealed(self) -> str:
        """What "all of them" stood for when it was shown."""
        return preview.seal(f"owned:{self.person.pk}", {"certificates": [self.fact]})


def possession_of(person: Any, *, authority: Authority) -> Possession:
    """Return what the person owns, of the teams for which the actor acts. Raises NotFound where the actor acts for none."""
    rows = active(Certificate.objects.filter(owner=person), now=database_now())
    teams = authority.acts_for()
    if teams is not None:
        rows = rows.filter(team__in=teams)
    # By team: the teams are asked for too, and an owner may have tens of thousands.
    by_team = list(rows.order_by().values_list("team").annotate(Count("pk"), Sum("pk"), Max("pk")))
    count, total = sum(one[1] for one in by_team), sum(one[2] for one in by_team)
    fact = f"{count:,} (sum {total}, newest {max((one[3] for one in by_team), default=0)})"
    rows = rows.select_related("team", "request").order_by("not_after", "pk")
    return Possession(person, rows, count, fact, frozenset(one[0] for one in by_team))


def possible_owners(found: Possession) -> list[Any]:
    """Return the active people who are in every team of these certificates, but the present owner; the first 200."""
    teams = found.teams
    rows = get_user_model().objects.filter(is_active=True).exclude(pk=found.person.pk)
    if teams:  # counted: of a join for each team the database makes plans for half a second
        members: Any = Team.members.through.objects.filter(team__in=teams).values("user")  # types know no `number`
        rows = rows.filter(pk__in=members.annotate(number=Count("team")).filter(number=len(teams)).values("user"))
    return list(rows.order_by("username")[:MOST_CHOSEN])


def hand_over_chosen(
    person: Any,
    chosen: Sequence[str],
    *,
    owner: str,
    everything: str = "",
    authority: Authority,
) -> int:
    """Give certificates of a person to another owner. Returns how many.

    `chosen`: certificate ids; not read where `everything` is the sealed sight of all of them.
    `owner`: an account name, empty for nobody in particular.
    Effects, in one transaction: the rows, an event each, and mails to both sides.
    Raises InputRefused, NotFound, NotPermitted, `preview.ChangedSince`, Conflict.
    """
    if not everything and not chosen:
        raise InputRefused("No certificate is chosen.", field="chosen", next_step="Choose one or more, or all of them.")
    with transaction.atomic():
        one_change_at_a_time()
        found = possession_of(person, authority=authority)
        if everything:
            preview.check_shown(everything, f"owned:{person.pk}", {"certificates": [found.fact]})
            rows = found.rows
        else:
            rows = found.rows.filter(cert_id__in=chosen)
        ids = list(rows.values_list("pk", flat=True))
        if not everything and len(ids) != len(set(chosen)):
            raise NotFound("One of these certificates is not there, or is not owned by the person any more.")
        if not ids:
            raise InputRefused("There is no such certificate any more.", field="chosen", next_step="Open the page again.")
        account = _account(owner, person)
        if account is not None:
            check_may_own(account, list(Team.objects.filter(pk__in=rows.order_by().values("team").distinct())))
        return hand_over(ids, before=person, owner=account, actor=authority.actor, now=database_now())


def check_may_hand_over(person: Any, authority: Authority) -> None:
    """Raise NotPermitted unless it is the actor's own, or the actor manages people."""
    if authority.user is None or authority.user.pk != person.pk:
        authority.check_manages_people()
        if not authority.is_officer:
            raise NotPermitted("You may not act on certificates of every team.", permission="certs.act_for_every_team")


def _account(name: str, person: Any) -> Any:
    if not name:
        return None
    account = get_user_model().objects.filter(username=name, is_active=True).first()
    if account is None or account.pk == person.pk:
        raise InputRefused(f"{name[:150]} cannot be the new owner.", field="owner", next_step="Choose one of the list.")
    return account
