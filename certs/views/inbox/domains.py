"""Domains that teams ask for: the form, the page of one request, and its decision."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.access.permissions import is_member
from certs.errors import InputRefused, NotFound
from certs.inventory import active
from certs.inventory.beneath import names_beneath
from certs.models import Certificate, DomainRequest
from certs.requests.domains.domain_requests import (
    ask_for_domain,
    grant_domain,
    owner_of,
    refuse_domain,
    rights_to_decide,
    withdraw_domain_request,
)
from certs.views.access import page, requester_of
from certs.views.kept_forms import typed_of
from db.clock import database_now

MOST_COUNTED = 1000


@page
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask for a domain for a team of one's own."""
    requester = requester_of(request, slug)
    context: dict[str, Any] = {"team": requester.team, "typed": request.GET}
    if request.method != "POST":
        return render(request, "inbox/domain_ask.html", context)
    try:
        row = ask_for_domain(request.POST.get("domain", ""), why=request.POST.get("why", ""), requester=requester)
    except InputRefused as exc:
        context |= {"typed": typed_of(request), "error": exc}
        return render(request, "inbox/domain_ask.html", context, status=exc.status)
    return redirect("domain-request", row.public_id)


def _row(request: HttpRequest, public_id: str) -> DomainRequest:
    row = DomainRequest.objects.visible_to(request.user).filter(public_id=public_id).first()
    if row is None:
        raise NotFound("There is no such request for a domain.")
    return row


@page
@require_safe
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show who asks for what and why; those who may decide see what changes with it."""
    return _shown(request, _row(request, public_id))


def _shown(request: HttpRequest, row: DomainRequest, *, error: InputRefused | None = None) -> HttpResponse:
    waits = row.state == DomainRequest.State.WAITING
    right = rights_to_decide(request.user, [row])[row.pk]
    owner = owner_of(row.domain) if waits else None
    sees_owner = right.refusal is None or right.is_own
    context: dict[str, Any] = {
        "row": row,
        "waits": waits,
        "may_decide": waits and right.refusal is None,
        "is_own": waits and right.is_own and right.refusal is not None,
        "is_mine": waits and is_member(request.user, row.team),
        # Which domains other teams own is not for everybody: see policy.rules.names.AllowedNames.
        "owner": owner if sees_owner else None,
        "sees_owner": waits and sees_owner,
        "error": error,
        "comment": typed_of(request).get("comment", "") if error else "",
        "now": database_now(),
    }
    if context["may_decide"]:
        context["moving"] = _certificates_that_move(row)
    return render(request, "inbox/domain_request.html", context, status=error.status if error else 200)


def _certificates_that_move(row: DomainRequest) -> int:
    """How many certificates of other teams in use have names beneath the domain: counted up to MOST_COUNTED."""
    beneath = names_beneath(row.domain).order_by().values("certificate_id")
    others = active(Certificate.objects.exclude(team=row.team), now=database_now())
    return others.filter(pk__in=beneath).order_by()[:MOST_COUNTED].count()


@page
@require_POST
def decide(request: HttpRequest, public_id: str) -> HttpResponse:
    """Grant or refuse. A refused form stays with what was typed."""
    row = _row(request, public_id)
    comment = request.POST.get("comment", "")
    try:
        if request.POST.get("decision") == "grant":
            grant_domain(row, user=request.user, owner=request.POST.get("owner", ""), comment=comment)
            messages.success(request, f"{row.domain} belongs to {row.team.name} now. {row.requester} has been notified.")
        else:
            refuse_domain(row, user=request.user, comment=comment)
            messages.success(request, f"The request for {row.domain} was refused. {row.requester} gets the reason by mail.")
    except InputRefused as exc:
        return _shown(request, row, error=exc)
    return redirect("inbox")


@page
@require_POST
def withdraw(request: HttpRequest, public_id: str) -> HttpResponse:
    """Take the question back."""
    row = _row(request, public_id)
    withdraw_domain_request(row, requester=requester_of(request, row.team.slug))
    return redirect("domain-request", row.public_id)
