"""What the pages of bulk orders share: whose order it is, and what the reader may do."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from certs.models import BulkOrder


def order_of(request: HttpRequest, public_id: str) -> BulkOrder:
    """Raises Http404 for an order that the reader may not see."""
    rows = BulkOrder.objects.visible_to(request.user).select_related("team", "requester", "issuer")
    order = rows.filter(public_id=public_id).first()
    if order is None:
        raise Http404
    return order
