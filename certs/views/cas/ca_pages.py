"""The CAs as a tree, and a page for each."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from certs.access.permissions import Permission, holds, teams_of
from certs.authorities.adding import open_additions
from certs.authorities.overview import CA, ca_of, trees
from certs.models import Issuer, Reissue
from certs.views.access import page
from certs.views.cas.ca_history import history_of_ca
from certs.views.numbers import id_of
from db.clock import database_now


def check_may_look(request: HttpRequest) -> bool:
    """Return whether the person sees everything about CAs; else only names and trust.

    Raises Http404 for an account without a team and without a role.
    """
    if holds(request.user, Permission.SEE_EVERY_TEAM):
        return True
    if not teams_of(request.user):
        raise Http404
    return False


def found_ca(slug: str) -> CA:
    """Return the CA of an address. Raises Http404 where there is none."""
    ca = ca_of(slug)
    if ca is None:
        raise Http404
    return ca


@page
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Every CA, beneath the root that its chains end in."""
    sees_all, now = check_may_look(request), database_now()
    shown = [
        {"root": tree.root, "own_root": tree.own_root, "rows": [_row(ca, sees_all=sees_all, now=now) for ca in tree.cas]}
        for tree in trees()
    ]
    context = {"trees": shown, "sees_all": sees_all, "now": now}
    if sees_all:
        context |= {"may_manage": holds(request.user, Permission.MANAGE_CAS), "additions": open_additions()[:10]}
    return render(request, "cas/index.html", context)


@page
@require_safe
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    """One CA: what it is, what it does now, and what happened to it."""
    sees_all, now = check_may_look(request), database_now()
    ca = found_ca(slug)
    context: dict[str, Any] = {"sees_all": sees_all, "now": now, "late_crls": [crl for crl in ca.crls if crl.is_late(now)]}
    context |= _row(ca, sees_all=sees_all, now=now)
    context["predecessors"] = Issuer.objects.filter(successor=ca.issuer)
    if sees_all:
        before = id_of(request.GET.get("before"))
        routine = request.GET.get("all") == "yes"
        context["entries"], context["older"] = history_of_ca(ca.issuer, before=before, routine=routine)
        context["routine"] = routine
        context["may_manage"] = holds(request.user, Permission.MANAGE_CAS)
        context["reissue"] = Reissue.objects.select_related("target").filter(issuer=ca.issuer, state__in=Reissue.UNDER_WAY).first()
    return render(request, "cas/detail.html", context)


def _row(ca: CA, *, sees_all: bool, now: Any) -> dict[str, Any]:
    return {"ca": ca, "problems": ca.problems(now) if sees_all else []}
