"""The re-issue of a CA's certificates as guided pages: plan it, look at the forecast, start it, follow it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.access.permissions import Permission, holds
from certs.authorities.reissue import (
    MOST_REASON,
    cancel_reissue,
    check_may_manage,
    find_reissue,
    forecast_again,
    pause_reissue,
    plan_reissue,
    resume_reissue,
    start_reissue,
    targets_for,
)
from certs.errors import InputRefused
from certs.models import Certificate, Reissue
from certs.views.access import authority_of, page
from certs.views.cas.ca_pages import found_ca
from db.clock import database_now

_NAMES = ("request__dns_names", "request__ip_addresses")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def plan(request: HttpRequest, slug: str) -> HttpResponse:
    """Choose the CA that issues instead, and say why. Nothing is started here."""
    check_sees(request)
    ca = found_ca(slug)
    if ca.is_root:
        raise Http404
    wrong: InputRefused | None = None
    if request.method == "POST":
        try:
            made = plan_reissue(
                ca.issuer, request.POST.get("target", ""), reason=request.POST.get("reason", ""), authority=authority_of(request)
            )
        except InputRefused as exc:
            wrong = exc
        else:
            return redirect("ca-reissue", made.public_id)
    else:
        check_may_manage(authority_of(request))
    context: dict[str, Any] = {
        "ca": ca,
        "targets": targets_for(ca.issuer),
        "wrong": wrong,
        "given": request.POST,
        "most": MOST_REASON,
        "open_ones": Reissue.objects.filter(issuer=ca.issuer, state__in=(Reissue.State.PLANNED, *Reissue.UNDER_WAY)).order_by("-pk")[:10],
        "now": database_now(),
    }
    return render(request, "cas/reissue_plan.html", context, status=422 if wrong else 200)


@page
@require_safe
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """A re-issue: its forecast while it is planned, then how far it is."""
    check_sees(request)
    return _shown(request, find_reissue(public_id))


@page
@require_safe
def live(request: HttpRequest, public_id: str) -> HttpResponse:
    """The part of the page that changes by itself."""
    check_sees(request)
    return render(request, "cas/reissue_live.html", _context(request, find_reissue(public_id)))


@page
@require_POST
def act(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Start, pause, resume, cancel, or compute the forecast again."""
    check_sees(request)
    reissue, authority = find_reissue(public_id), authority_of(request)
    if verb == "start":
        try:
            start_reissue(reissue, confirmation=request.POST.get("confirmation", ""), authority=authority)
        except InputRefused as exc:
            return _shown(request, reissue, wrong=exc)
    elif verb in _VERBS:
        _VERBS[verb](reissue, authority=authority)
    else:
        raise Http404
    return redirect("ca-reissue", public_id)


_VERBS = {"pause": pause_reissue, "resume": resume_reissue, "cancel": cancel_reissue, "forecast": forecast_again}


def check_sees(request: HttpRequest) -> None:
    """Raise Http404 for all but those who see everything about CAs."""
    if not holds(request.user, Permission.SEE_EVERY_TEAM):
        raise Http404


def _shown(request: HttpRequest, reissue: Reissue, *, wrong: InputRefused | None = None) -> HttpResponse:
    context = _context(request, reissue) | {"wrong": wrong, "typed": request.POST.get("confirmation", "")}
    return render(request, "cas/reissue.html", context, status=422 if wrong else 200)


def _context(request: HttpRequest, reissue: Reissue) -> dict[str, Any]:
    may_manage = holds(request.user, Permission.MANAGE_CAS)
    done = reissue.issued
    total = max(done + reissue.begun + reissue.left, 1)
    return {
        "reissue": reissue,
        "forecast": reissue.forecast,
        "may_manage": may_manage,
        "may_pause": may_manage or holds(request.user, Permission.OPERATE),
        "runs": reissue.state == Reissue.State.RUNNING,
        "paused": reissue.state == Reissue.State.PAUSED,
        "planned": reissue.state == Reissue.State.PLANNED,
        "percent": 100 * done // total,
        "bar": [
            {"name": "issued", "x": 0, "width": 1000 * done // total},
            {"name": "under_way", "x": 1000 * done // total, "width": 1000 * reissue.begun // total},
        ],
        "blocked": _blocked(reissue),
        "reasons": _reasons(reissue),
        "rate_is_known": bool(settings.PKI_RENEW_BUDGET or reissue.forecast.get("rate_a_minute")),
        "now": database_now(),
    }


def _reasons(reissue: Reissue) -> list[dict[str, Any]]:
    """Return why certificates need a person, with some of each by their names. One query."""
    reasons = reissue.forecast.get("reasons", [])
    ids = [cert_id for one in reasons for cert_id in one["examples"]]
    rows = Certificate.objects.filter(cert_id__in=ids).select_related("request").only("cert_id", "common_name", *_NAMES) if ids else ()
    found = {row.cert_id: row for row in rows}
    return [one | {"certificates": [found[cert_id] for cert_id in one["examples"] if cert_id in found]} for one in reasons]


def _blocked(reissue: Reissue) -> int:
    """Return how many certificates would not be renewed without a person."""
    verdicts = reissue.forecast.get("verdicts", {})
    return sum(count for verdict, count in verdicts.items() if verdict != "go")
