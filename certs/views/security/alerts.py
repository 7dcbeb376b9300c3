"""What operators must look at."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from certs.access.permissions import Permission, holds
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
@require_POST
def close(request: HttpRequest, pk: int) -> HttpResponse:
    if not holds(request.user, Permission.OPERATE):
        raise Http404
    close_by_hand(pk, authority=authority_of(request))
    return redirect("alerts")
