"""Views of the inventory that people keep under a name, for themselves or for a team."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils.http import urlencode

from audit.events import EventType
from audit.log import Actor, Value, record
from certs.access.permissions import Authority, teams_of
from certs.errors import Conflict, InputRefused, NotFound
from certs.inventory.filters import CertificateFilter
from certs.inventory.listing.sorts import check_sort
from certs.models import SavedView, Team
from db.clock import database_now

MOST_VIEWS = 50  # of one person
_MOST_CHARACTERS = 60
_MOST_IN_QUERY = 1000  # as the column


def save_view(user: Any, *, name: str, query: dict[str, str], team: str = "") -> SavedView:
    """Keep a filter and an order under a name; `team`: slug of a team of the person to share it with.

    A view of the person's of that name is replaced. Effects, in one transaction: the row, and
    `view:shared` and `view:withdrawn` for what changes for a team. Raises InputRefused for a name
    or filter that cannot be, NotFound for a team to which the person does not belong, Conflict for
    too many.
    """
    name = " ".join(name.split())
    if not name or len(name) > _MOST_CHARACTERS or not name.isprintable():
        raise InputRefused(
            f"A view needs a name of up to {_MOST_CHARACTERS} characters.",
            field="name",
            next_step="Write what it shows, such as: ends this month.",
        )
    sought, sort = CertificateFilter.from_query(query), query.get("sort", "")
    check_sort(sort)
    written = urlencode(sought.to_query() | ({"sort": sort} if sort else {}))
    if len(written) > _MOST_IN_QUERY:
        raise InputRefused(
            "This view has too many filters to be kept.",
            field="name",
            next_step="Take filters off, and save it again.",
        )
    shared = next((one for one in teams_of(user) if one.slug == team), None) if team else None
    if team and shared is None:
        raise NotFound("no such team")
    own = SavedView.objects.filter(person=user)
    if own.count() >= MOST_VIEWS and not own.filter(name=name).exists():
        raise Conflict(
            f"You have {MOST_VIEWS} saved views already.",
            next_step="Delete one of them first.",
        )
    with transaction.atomic():
        # The row of the account serialises two forms that are sent at once.
        get_user_model().objects.select_for_update().get(pk=user.pk)
        before = own.select_related("team").filter(name=name).first()
        values = {"query": written, "team": shared, "created_at": database_now()}
        view, _ = SavedView.objects.update_or_create(person=user, name=name, defaults=values)
        _record_change(user, before, view)
    return view


def may_delete(view: SavedView, authority: Authority) -> bool:
    """Return whether the actor may delete it: the own one, and a shared one of a team that the actor manages.

    The person who shared it may have left, and the team would keep it without end.
    """
    own = authority.user is not None and view.person_id == authority.user.pk
    return own or (view.team is not None and authority.may_manage(view.team))


def delete_view(pk: int, *, authority: Authority) -> SavedView:
    """Delete a view. Raises NotFound for one that the actor may not delete. Effects: `view:withdrawn` for a shared one."""
    with transaction.atomic():
        view = SavedView.objects.select_for_update().filter(pk=pk).first()  # its team is read behind the lock
        if view is None or not may_delete(view, authority):
            raise NotFound("There is no such view of yours.")
        SavedView.objects.filter(pk=view.pk).delete()
        _record_change(authority.user, view, None)
    return view


def _record_change(user: Any, before: SavedView | None, after: SavedView | None) -> None:
    """Record what changes for the teams that see the view.

    A private view leaves no event. It is a bookmark of one person: it shows nobody anything, grants
    nothing and changes no certificate. A shared one decides what others look at: who takes a filter
    off the team's "ends this month" hides certificates from the people who work with it.
    """
    old = (before.team, before.query) if before is not None else (None, "")
    new = (after.team, after.query) if after is not None else (None, "")
    if old == new:
        return
    actor, now = Actor("user", user.get_username()), database_now()
    if before is not None and before.team is not None and before.team != new[0]:
        _record(EventType.VIEW_WITHDRAWN, before, before.team, actor, now)
    if after is not None and after.team is not None:
        _record(EventType.VIEW_SHARED, after, after.team, actor, now)


def _record(event: EventType, view: SavedView, team: Team, actor: Actor, now: datetime) -> None:
    data: dict[str, Value] = {"name": view.name, "query": view.query, "team": team.slug}
    record(event, subject=f"view:{view.pk}", actor=actor, at=now, data=data)
