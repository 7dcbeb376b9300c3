"""What the pages of bulk orders share: whose order it is, and what the reader may do."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest

from certs.models import BulkOrder


def order_of(request: HttpRequest, public_id: str) -> BulkOrder:
    """Raises Http404 for an order that the reader may not see."""
    rows = BulkOrder.objects.visible_to(request.user).select_related("team", "requester", "issuer")
    order = rows.filter(public_id=public_id).first()
    if order is None:
        raise Http404
    return order


def number_of(text: Any) -> int:
    """A line's number from an address; 0 for what is none."""
    text = str(text or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
