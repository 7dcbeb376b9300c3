"""Pages of REST lists: by key and not by number, so that each costs the same at any depth."""

from __future__ import annotations

from typing import Annotated, Any

from django.core import signing
from django.db.models import QuerySet
from ninja import Query

from certs.errors import InputRefused
from certs.inventory import Page, page_of

_SALT = "certs.api.paging"

Sought = Annotated[str, Query(max_length=253, description="As in the portal: a name or a part of it, id, serial number, fingerprint.")]
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


def _before(cursor: str, sought: list[str]) -> int:
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
    return int(before)
