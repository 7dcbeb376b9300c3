"""Views of the inventory that people keep under a name, for themselves or for a team."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils.http import urlencode

from certs.access.membership import teams_of
from certs.errors import Conflict, InputRefused, NotFound
from certs.inventory.filters import CertificateFilter
from certs.inventory.listing.sorts import check_sort
from certs.models import SavedView
from db.clock import database_now

MOST_VIEWS = 50  # of one person
_MOST_CHARACTERS = 60
_MOST_IN_QUERY = 1000  # as the column


def save_view(user: Any, *, name: str, query: dict[str, str], team: str = "") -> SavedView:
    """Keep a filter and an order under a name; `team`: slug of a team of the person to share it with.

    A view of the person's of that name is replaced. Raises InputRefused for a name or filter that
    cannot be, NotFound for a team to which the person does not belong, Conflict for too many.
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
    values = {"query": written, "team": shared, "created_at": database_now()}
    try:
        with transaction.atomic():
            view, _ = SavedView.objects.update_or_create(person=user, name=name, defaults=values)
    except IntegrityError:  # saved by another tab just now
        view = SavedView.objects.get(person=user, name=name)
    return view


def delete_view(user: Any, pk: int) -> SavedView:
    """Delete a view of the person's own. Raises NotFound."""
    view = SavedView.objects.filter(person=user, pk=pk).first()
    if view is None:
        raise NotFound("There is no such view of yours.")
    SavedView.objects.filter(pk=view.pk).delete()
    return view
