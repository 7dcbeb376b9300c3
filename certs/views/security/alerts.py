"""What operators must look at."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from certs.access.permissions import Permission, holds
from certs.inbox.alerts import way_of
from certs.inventory import open_alerts
from certs.models import OperatorAlert
from certs.notifications.alerts import close_by_hand
from certs.views.access import authority_of, page


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    if not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404
    closed = OperatorAlert.objects.filter(closed_at__isnull=False).order_by("-closed_at")[:20]
    return render(
        request,
        "portal/alerts.html",
        {"alerts": open_alerts()[:100], "closed": closed, "may_close": holds(request.user, Permission.OPERATE)},
    )


@page
@require_safe
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one alert with the page on which it is dealt with."""
    alert = OperatorAlert.objects.select_related("closed_by").filter(pk=pk).first()
    if alert is None or not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404
    context = {"alert": alert, "way": way_of(alert), "may_close": holds(request.user, Permission.OPERATE)}
    return render(request, "portal/alert.html", context)


@page
@require_POST
def close(request: HttpRequest, pk: int) -> HttpResponse:
    if not holds(request.user, Permission.OPERATE):
        raise Http404
    if close_by_hand(pk, authority=authority_of(request)):
        messages.success(request, "The alert is closed. It opens again if the same happens again.")
    return redirect("inbox")
