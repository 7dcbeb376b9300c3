"""An approver who is away names a deputy."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.access.permissions import Permission, holds
from certs.errors import InputRefused
from certs.requests.approvals.deputies import deputy_of, end_deputy, name_deputy, possible_deputies, stands_in_for
from certs.views.access import page
from certs.views.kept_forms import typed_of


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """Show who stands in for whom; name a deputy, or end it."""
    if not holds(request.user, Permission.DECIDE_REQUESTS):
        raise Http404
    error, status = None, 200
    if request.method == "POST":
        try:
            return _changed(request)
        except InputRefused as exc:
            error, status = exc, exc.status
    context: dict[str, Any] = {
        "present": deputy_of(request.user),
        "for_others": stands_in_for(request.user),
        "people": possible_deputies(request.user),
        "error": error,
        "typed": typed_of(request) if error else {},
    }
    return render(request, "inbox/deputy.html", context, status=status)


def _changed(request: HttpRequest) -> HttpResponse:
    if request.POST.get("do") == "end":
        end_deputy(request.user)
        messages.success(request, "Nobody stands in for you any more.")
    else:
        row = name_deputy(request.user, username=request.POST.get("deputy", ""), until=request.POST.get("until", ""))
        messages.success(request, f"{row.deputy} gets your mails about approvals, and has been notified.")
    return redirect("deputy")
