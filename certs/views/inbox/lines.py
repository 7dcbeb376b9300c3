"""Lines of a bulk order that are decided together: one preview, one confirmation."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe

from certs.access.permissions import Permission
from certs.errors import Conflict, InputRefused, NotPermitted, PortalError
from certs.models import BulkOrder
from certs.requests.approvals.approval import approve_lines, reject_lines
from certs.requests.approvals.confirmation import begin_lines
from certs.requests.approvals.together import MOST, UNMARKED, Together, lines_together
from certs.views.access import authority_of, page
from certs.views.bulk.order_access import order_of
from certs.views.kept_forms import typed_of
from certs.views.request.confirming import decision_sent, host_of, with_proof_sent
from db.clock import database_now


@page
@require_http_methods(["GET", "HEAD", "POST"])
def decide(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show the lines that wait, by risk and with their differences; approve or reject exactly these.

    A refused form stays with what was typed; where the lines have changed, they are shown as they are now.
    """
    order = _order(request, public_id)
    if request.method != "POST":
        return _shown(request, order, _together(request, order, request.GET.get("only", "")))
    together = _together(request, order, request.POST.get("only", ""))
    granted = request.POST.get("decision") == "approve"
    try:
        if granted:
            gone_on = with_proof_sent(
                request,
                lambda proof: approve_lines(order, together.requests, **decision_sent(request), proof=proof),
            )
        else:
            gone_on = reject_lines(order, together.requests, **decision_sent(request))
    except (InputRefused, Conflict) as exc:
        return _shown(request, order, _together(request, order, together.only), error=exc)
    messages.success(request, _said(len(together.lines), gone_on, granted=granted))
    if together.waiting > len(together.lines):
        return redirect("bulk-decide", order.public_id)
    return redirect("inbox")


@page
@require_safe
def confirm(request: HttpRequest, public_id: str) -> HttpResponse:
    """Return what the portal's script asks the browser for, over the digest of all lines that are shown."""
    order = _order(request, public_id)
    together = _together(request, order, request.GET.get("only", ""))
    if request.GET.get("digest", "") != together.digest:
        raise Conflict(
            "The lines have changed since you saw them.",
            next_step="Open the page again, and decide then.",
        )
    options = begin_lines(order, together.requests, user=request.user, host=host_of(request))
    return JsonResponse({"request_options": options})


def _order(request: HttpRequest, public_id: str) -> BulkOrder:
    order = order_of(request, public_id)
    if not authority_of(request).holds(Permission.DECIDE_REQUESTS):
        raise NotPermitted(
            "Only approvers decide requests.",
            next_step="Ask a member of the security team.",
            permission=Permission.DECIDE_REQUESTS,
        )
    return order


def _together(request: HttpRequest, order: BulkOrder, only: str) -> Together:
    return lines_together(order, user=request.user, only=only[:100], now=database_now())


def _shown(request: HttpRequest, order: BulkOrder, together: Together, *, error: PortalError | None = None) -> HttpResponse:
    chosen = {"only": together.only} if together.only else {}
    context: dict[str, Any] = {
        "order": order,
        "together": together,
        "unmarked": UNMARKED,
        "most": MOST,
        "listed": f"{reverse('bulk-order', args=[order.public_id])}?show=awaiting_approval",
        "options_query": urlencode({"digest": together.digest, **chosen}),
        "error": error,
        "typed": typed_of(request).get("comment", "") if error else "",
    }
    return render(request, "inbox/lines.html", context, status=error.status if error else 200)


def _said(lines: int, gone_on: int, *, granted: bool) -> str:
    if not granted:
        return f"{lines} line{'s were' if lines > 1 else ' was'} rejected. The requester reads your reason."
    if gone_on < lines:
        return f"Your approval of {lines} line{'s' if lines > 1 else ''} is kept. {lines - gone_on} wait for another person's."
    return f"{lines} line{'s were' if lines > 1 else ' was'} approved, and will be issued now."
