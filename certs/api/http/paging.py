"""Pages of REST lists: by key and not by number, so that each costs the same at any depth."""

from __future__ import annotations

from typing import Annotated, Any

from django.core import signing
from django.db.models import QuerySet
from ninja import Query

from certs.errors import InputRefused
from certs.inventory import Page, page_of
from certs.inventory.listing.listed import View
from certs.inventory.listing.paging import Position

_SALT = "certs.api.paging"

Sought = Annotated[str, Query(max_length=253, description="As in the portal: a name or a part of it, id, serial number, fingerprint.")]
Unchanged = Annotated[int, Query(ge=0, le=3650, description="Only requests that have been in their state for more than so many days.")]
Cursor = Annotated[str, Query(max_length=1000, description="`next` of the page before, with the same filters.")]
Limit = Annotated[int, Query(ge=1, le=200, description="Rows of a page.")]


def page_at(rows: QuerySet[Any], cursor: str, *filters: object, limit: int) -> tuple[Page[Any], str | None]:
    """The page that the cursor names, and the cursor of the one behind it. Raises InputRefused.

    A cursor is signed and holds the filters that it was made with: with others it would skip rows.
    """
    sought = [str(one) for one in filters]
    before = _before(cursor, sought) if cursor else 0
    page = page_of(rows, before=before, size=limit)
    return page, signing.dumps([page.older, *sought], salt=_SALT, compress=True) if page.older else None


def window_at(view: View, cursor: str, *filters: object, limit: int) -> tuple[list[int], str | None]:
    """Return the ids of the page of a sorted list that the cursor names, and the cursor of the one behind it. Raises InputRefused."""
    sought = [str(one) for one in filters]
    after = Position.read(str(_place(cursor, sought)), "cursor") if cursor else None
    found = view.window(after=after, size=limit)
    following = signing.dumps([str(found.older), *sought], salt=_SALT, compress=True) if found.older else None
    return found.ids, following


def _before(cursor: str, sought: list[str]) -> int:
    return int(_place(cursor, sought))


def _place(cursor: str, sought: list[str]) -> Any:
    """Return what the cursor points at. Raises InputRefused for one of another list."""
    try:
        before, *filters = signing.loads(cursor, salt=_SALT)
    except (signing.BadSignature, ValueError) as exc:
        raise InputRefused(
            "This is no cursor of a list.",
            field="cursor",
            next_step="Send `next` of the page before as it is, or leave cursor out for the first page.",
        ) from exc
    if filters != sought:
        raise InputRefused(
            "This cursor belongs to a list with other filters.",
            field="cursor",
            next_step="Send the same filters with each page, or leave cursor out.",
        )
    return before
