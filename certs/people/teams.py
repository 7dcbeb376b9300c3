"""Teams: made, described, and found by those who may see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from audit.changes import attribute
from certs.access.locks import one_change_at_a_time
from certs.access.permissions import Authority
from certs.errors import Conflict, InputRefused, NotFound
from certs.language.unseen import holds_link
from certs.models import Domain, Team
from certs.requests.exposure.refused_secrets import refuse_secrets

# What a lead may change of the own team, and what only those who manage people may.
OF_LEADS = ("email", "default_domain")
OF_OFFICERS = ("name", "organization")


def teams_seen_by(authority: Authority, *, q: str = "") -> QuerySet[Team]:
    """Return the teams whose pages the actor may open, by name, each with its numbers of members and domains.

    `q`: a part of the name, the short name or a domain.
    """
    seen = authority.sees()
    rows = Team.objects.all() if seen is None else Team.objects.filter(pk__in=seen)
    if q:
        owns = Domain.objects.filter(team=OuterRef("pk"), name__icontains=q)
        rows = rows.filter(Q(name__icontains=q) | Q(slug__icontains=q) | Exists(owns))
    # A subquery for each number: two joins would multiply members by domains.
    members = Team.members.through.objects.filter(team=OuterRef("pk"), user__is_active=True)
    domains = Domain.objects.filter(team=OuterRef("pk"))
    return rows.annotate(people=_number_of(members), names=_number_of(domains)).order_by("name", "pk")


def _number_of(rows: QuerySet[Any]) -> Any:
    counted = rows.order_by().values("team").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted), 0)


def find_team(slug: str, authority: Authority) -> Team:
    """Return a team that the actor may see. Raises NotFound."""
    team = Team.objects.filter(slug=slug).first()
    if team is None or not authority.may_see_team(team):
        raise NotFound("There is no such team.")
    return team


def make_team(*, slug: str, name: str, email: str, authority: Authority) -> Team:
    """Make a team without names and people.

    Effects: the row and `team:created`, in one transaction.
    Raises NotPermitted, InputRefused, Conflict for a slug that is taken.
    """
    authority.check_manages_people()
    _refuse_secrets({"slug": slug, "name": name, "email": email}, "", authority)
    team = Team(slug=slug.strip(), name=" ".join(name.split()), email=email.strip())
    _check(team)
    try:
        with transaction.atomic():
            attribute(team, authority.actor)
            team.save(force_insert=True)
    except IntegrityError:
        raise Conflict(
            f"There is a team with the short name {team.slug} already.",
            field="slug",
            next_step="Choose another short name. It cannot be changed later.",
        ) from None
    return team


def change_team(team: Team, values: Mapping[str, str], *, authority: Authority) -> Team:
    """Change what is written about a team.

    Effects: the row and `team:changed`, in one transaction.
    Raises NotFound, NotPermitted (name and organization: only who manages people), InputRefused.
    """
    authority.check_may_manage(team)
    _refuse_secrets(values, team.slug, authority)
    with transaction.atomic():
        one_change_at_a_time()
        authority.check_may_manage(team)
        row = Team.objects.select_for_update().get(pk=team.pk)
        given = {name: " ".join(values[name].split()) for name in (*OF_LEADS, *OF_OFFICERS) if name in values}
        changed = {name: value for name, value in given.items() if value != getattr(row, name)}
        if set(changed) & set(OF_OFFICERS):
            authority.check_manages_people()
        for name, value in changed.items():
            setattr(row, name, value)
        _check(row)
        if changed:
            attribute(row, authority.actor)
            try:
                row.save(update_fields=sorted(changed))
            except ValidationError as exc:
                raise _refused(exc) from exc
    return row


def _refuse_secrets(values: Mapping[str, str], slug: str, authority: Authority) -> None:
    for field, text in values.items():
        refuse_secrets(text, actor=authority.actor, team=slug, field=field)


def _check(team: Team) -> None:
    try:
        team.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as exc:
        raise _refused(exc) from exc
    for name in ("name", "organization"):
        if not str(getattr(team, name)).isprintable():
            raise InputRefused("This text contains a control character.", field=name, next_step="Write it as plain text.")
        if holds_link(str(getattr(team, name))):
            why = "This text contains an address, which mails to other people would show as a link."
            raise InputRefused(why, field=name, next_step="Write the name alone.")


def _refused(error: ValidationError) -> InputRefused:
    field, messages = next(iter(error.message_dict.items()))
    return InputRefused(str(messages[0]), field=field, next_step=_NEXT.get(field, ""))


_NEXT: dict[str, Any] = {
    "slug": "Use lower-case letters, digits and hyphens, such as web-shop.",
    "name": "A team needs a name of 1 to 128 characters.",
    "email": "Write one mail address, such as web@example.com, or leave it empty.",
}
