"""Files of an order, sent while they are made."""

from __future__ import annotations

from django.http import HttpRequest, StreamingHttpResponse
from django.views.decorators.http import require_safe

from certs.models import teams_seen_by
from certs.views.bulk.doors import order_of
from certs.views.doors import actor_of, page
from certs.workflow.bulk.results import download


@page
@require_safe
def take(request: HttpRequest, public_id: str, form: str) -> StreamingHttpResponse:
    """The certificates, their inventory rows or the lines in trouble. Taking certificates is in the audit log, once a download."""
    order, actor = order_of(request, public_id), None if request.method == "HEAD" else actor_of(request)
    taken = download(order, form, teams=teams_seen_by(request.user), actor=actor)
    response = StreamingHttpResponse(taken.parts, content_type=taken.content_type)
    response["Content-Disposition"] = f'attachment; filename="{taken.filename}"'
    return response
