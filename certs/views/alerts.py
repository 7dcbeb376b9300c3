"""What operators must look at."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from certs.inventory import open_alerts
from certs.models import OperatorAlert, sees_everything
from certs.notifications.alerts import close_by_hand
from certs.views.doors import page


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    if not sees_everything(request.user):
        raise Http404
    closed = OperatorAlert.objects.filter(closed_at__isnull=False).order_by("-closed_at")[:20]
    return render(request, "portal/alerts.html", {"alerts": open_alerts()[:100], "closed": closed, "may_close": _may_close(request)})


@page
@require_POST
def close(request: HttpRequest, pk: int) -> HttpResponse:
    if not _may_close(request):
        raise Http404
    close_by_hand(pk, user=request.user)
    return redirect("alerts")


def _may_close(request: HttpRequest) -> bool:
    return bool(request.user.is_superuser or request.user.groups.filter(name="security-team").exists())
