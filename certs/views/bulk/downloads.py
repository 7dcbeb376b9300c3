"""Files of an order, sent while they are made."""

from __future__ import annotations

from django.http import HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_safe

from certs.bulk.export import download, file_of
from certs.views.access import authority_of, page
from certs.views.bulk.order_access import order_of


@page
@require_safe
def take(request: HttpRequest, public_id: str, form: str) -> StreamingHttpResponse:
    """The certificates, their inventory rows or the lines in trouble. Taking certificates is in the audit log, once a download."""
    give = file_of if request.method == "HEAD" else download
    taken = give(order_of(request, public_id), form, authority=authority_of(request))
    response = StreamingHttpResponse(taken.parts, content_type=taken.content_type)
    response["Content-Disposition"] = f'attachment; filename="{taken.filename}"'
    return response
