"""What operators must look at."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from certs.access.permissions import Permission, holds
from certs.enums import AlertKind
from certs.inbox.alerts import way_of
from certs.inventory import open_alerts
from certs.models import OperatorAlert
from certs.notifications.alerts import close_by_hand, may_close, settled_key_alerts
from certs.views.access import authority_of, page
from db.clock import database_now

MOST = 1_000  # alerts that one click closes


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
    others = 0
    if alert.kind == AlertKind.KEY_BLOCKED and alert.closed_at is None:
        others = len(set(settled_key_alerts(most=MOST, now=database_now())) - {pk})
    may = may_close(alert, authority_of(request))
    context = {"alert": alert, "way": way_of(alert), "may_close": may, "others": others}
    return render(request, "portal/alert.html", context)


@page
@require_POST
def close(request: HttpRequest, pk: int) -> HttpResponse:
    """Close an alert; with `others` also those about blocked keys on which no valid certificate is left."""
    alert, authority = OperatorAlert.objects.filter(pk=pk).first(), authority_of(request)
    if not may_close(alert, authority):
        raise Http404
    more = settled_key_alerts(most=MOST, now=database_now()) if request.POST.get("others") == "yes" else []
    number = sum(close_by_hand(one, authority=authority) for one in dict.fromkeys([pk, *more]))
    if number == 1:
        messages.success(request, "The alert is closed. It opens again if the same happens again.")
    elif number:
        messages.success(request, f"{number:,} alerts are closed.")
    return redirect("inbox")
