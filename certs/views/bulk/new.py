"""A new order: said in words, and drafted. Nothing is issued before the draft is submitted."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from audit.clock import database_now
from certs.errors import InputRefused, NotUnderstood
from certs.intake.spec import IssuePlan
from certs.models import BulkOrder
from certs.terms import RefusalClass
from certs.views.doors import page, requester_of, teams_of
from certs.workflow.bulk.drafting import draft, lines_of
from certs.workflow.issuance import Requester
from certs.workflow.planning import defaults_for, plan_words

WAYS = (("words", "In words"),)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, way=request.GET.get("via", "words"))
    way = request.POST.get("via", "words")
    try:
        order = _drafted(request)
    except NotUnderstood as exc:
        text = request.POST.get("text", "")
        marked = {"before": text[: exc.position], "there": text[exc.position :][:1] or " ", "after": text[exc.position + 1 :]}
        return _form(request, way="words", status=exc.status, error=exc, **marked)
    except InputRefused as exc:
        return _form(request, way=way, status=exc.status, error=exc)
    return redirect("bulk-order", order.public_id)


def _drafted(request: HttpRequest) -> BulkOrder:
    requester = requester_of(request, request.POST.get("team", ""))
    text = request.POST.get("text", "")
    plan = plan_words(text, requester=requester)
    if not isinstance(plan, IssuePlan):
        raise InputRefused(
            "These words do not ask for certificates.", field="text", next_step="Renewals and revocations are said on the first page."
        )
    return drafted_plan(plan, text, requester)


def drafted_plan(plan: IssuePlan, text: str, requester: Requester) -> BulkOrder:
    """A plan of several certificates as a draft order, with what was assumed for it."""
    return draft(lines_of(plan), requester=requester, title=text, notes=plan.notes)


def _form(request: HttpRequest, *, way: str, status: int = 200, **more: Any) -> HttpResponse:
    teams = teams_of(request.user)
    if not teams:
        return render(request, "portal/no_team.html", status=status)
    chosen = next((team for team in teams if team.slug == request.POST.get("team")), teams[0])
    context = {
        "ways": WAYS,
        "way": way if way in dict(WAYS) else "words",
        "teams": teams,
        "team": chosen,
        "examples": (
            "Issue certificates for api-1 through api-10, all RSA 4096, 90 days",
            f"Certificates for shop-{{1..20}}.{chosen.default_domain}, P-256",
        ),
        "defaults": defaults_for(chosen, now=database_now()),
        "max_lines": settings.PKI_BULK_MAX_LINES,
        "max_bytes": settings.PKI_BULK_MAX_BYTES,
        "max_names": settings.PKI_MAX_NAMES,
        # A pasted secret goes back to nobody, not even to the page that it was typed into.
        "given": {} if getattr(more.get("error"), "refusal", "") == RefusalClass.SECRET_PASTED else request.POST,
    }
    return render(request, "bulk/new.html", context | more, status=status)
