"""The inbox: everything that waits for the person, one line and one action each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certs.access.permissions import Permission
from certs.enums import Channel
from certs.enums import RequestState as S
from certs.inbox.inbox import MOST, inbox_of
from certs.models import CertificateRequest, ScheduledJob, Team
from certs.requests.approvals.deputies import stands_in_for
from certs.views.access import page
from certs.views.navigation import navigation_of
from db.clock import database_now

NIGHTLY, NIGHT = "certs.tasks.check_expiry", timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class LastNight:
    """What the last nightly run did, and when the next one is due."""

    renewed: int
    failed: int
    at: datetime
    next_at: datetime | None


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show what waits for the person; where nothing does, what the last night did."""
    navigation, now = navigation_of(request), database_now()
    inbox = inbox_of(navigation.reader, teams=navigation.teams, most=MOST, now=now)
    night = _last_night(None if navigation.sees_every_team else navigation.teams) if not inbox.matters else None
    decides = Permission.DECIDE_REQUESTS in navigation.permissions
    stands_in = stands_in_for(request.user) if decides else []
    context = {"inbox": inbox, "night": night, "decides": decides, "stands_in": stands_in, "now": now}
    return render(request, "inbox/index.html", context)


def _last_night(teams: list[Team] | None) -> LastNight | None:
    """`teams`: whose renewals are counted; None for all of them."""
    job = ScheduledJob.objects.filter(task=NIGHTLY).order_by("due_at").first()
    if job is None or job.started_at is None:
        return None
    # Public ids begin with the time to the second, and have an index; `created_at` has none.
    first, last = (f"req-{at:%Y%m%d%H%M%S}" for at in (job.started_at, job.started_at + NIGHT))
    rows = CertificateRequest.objects.filter(public_id__range=(first, last), door=Channel.SCHEDULE)
    if teams is not None:
        rows = rows.filter(team__in=teams)
    renewed = rows.filter(state=S.COMPLETED).count()
    failed = rows.filter(state__in=(S.FAILED, S.REJECTED)).count()
    return LastNight(renewed, failed, job.started_at, job.due_at)
