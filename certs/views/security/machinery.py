"""What runs while nobody looks: jobs, queues, CAs that are stopped, and what waits."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certs.access.permissions import Permission, holds
from certs.inventory import open_alerts
from certs.schedules.alarm import KINDS
from certs.schedules.machinery import machinery
from certs.views.access import page
from db.clock import database_now


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    if not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404
    now = database_now()
    found = machinery(now)
    alerts = list(open_alerts().filter(kind__in=KINDS)[:20])
    jobs = sorted(found.jobs, key=lambda job: (not job.missed, job.name))
    context = {"machinery": found, "jobs": jobs, "alerts": alerts, "now": now}
    return render(request, "portal/machinery.html", context)
