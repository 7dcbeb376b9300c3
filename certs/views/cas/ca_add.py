"""Adding a CA as guided pages. Each step has an address; one that breaks off is found again in the list of CAs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certs.access.permissions import Permission, holds
from certs.authorities.adding import (
    begin_addition,
    chain_of,
    compare_root,
    configured_cas,
    find_addition,
    give_up,
    go_live,
    open_additions,
    try_again,
)
from certs.authorities.reissue import check_may_manage
from certs.authorities.trial import ends_of
from certs.errors import InputRefused
from certs.models import CAAddition
from certs.trust.roots import Root
from certs.views.access import authority_of, page
from certs.views.cas.ca_reissue import check_sees
from certs.x509.certificate.verify import name_constraints_of
from db.clock import database_now
from policy.persons import one_person_is_enough

State = CAAddition.State
FIELDS = ("kind", "name", "address", "credential", "mount", "role", "test_name")
STEPS = (State.CONNECTING, State.COMPARING, State.TESTING, State.READY)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def start(request: HttpRequest) -> HttpResponse:
    """What kind of CA, where it is, and which file has its credential."""
    check_sees(request)
    authority = authority_of(request)
    check_may_manage(authority)
    wrong: InputRefused | None = None
    if request.method == "POST":
        given = {name: request.POST.get(name, "")[:300] for name in FIELDS}
        if given["kind"] == CAAddition.Kind.CONFIGURED:
            given["name"] = request.POST.get("configured", "")[:300]
        try:
            made = begin_addition(given, authority=authority)
        except InputRefused as exc:
            wrong = exc
        else:
            return redirect("ca-addition", made.public_id)
    kind = request.POST.get("kind") or request.GET.get("kind", "")
    context = {
        "wrong": wrong,
        "given": request.POST,
        "kind": kind if kind in CAAddition.Kind.values else "",
        "configured": configured_cas(),
        "open_ones": open_additions()[:10],
        "now": database_now(),
    }
    return render(request, "cas/add.html", context, status=422 if wrong else 200)


@page
@require_safe
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """The step at which it is."""
    check_sees(request)
    return _shown(request, find_addition(public_id))


@page
@require_POST
def act(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Try a step again, compare the root, go live, or give up."""
    check_sees(request)
    addition, authority = find_addition(public_id), authority_of(request)
    try:
        if verb == "compare":
            compare_root(addition, request.POST.get("fingerprint", "")[:300], authority=authority)
        elif verb == "live":
            issuer = go_live(addition, confirmation=request.POST.get("confirmation", "")[:300], authority=authority)
            messages.success(request, f"{issuer.name} is in use.", extra_tags="good")
            return redirect("ca", issuer.slug)
        elif verb == "again":
            try_again(addition, authority=authority)
        elif verb == "give-up":
            give_up(addition, authority=authority)
        else:
            raise Http404
    except InputRefused as exc:
        addition.refresh_from_db()
        return _shown(request, addition, wrong=exc)
    return redirect("ca-addition", public_id)


def _shown(request: HttpRequest, addition: CAAddition, *, wrong: InputRefused | None = None) -> HttpResponse:
    now = database_now()
    chain = ends_of(addition)
    compared = addition.state not in (State.CONNECTING, State.COMPARING)
    at = STEPS.index(State(addition.state)) if addition.state in STEPS else len(STEPS)
    context: dict[str, Any] = {
        "addition": addition,
        "wrong": wrong,
        "given": request.POST,
        "works": addition.working_until is not None and addition.working_until > now and not addition.problem,
        "may_manage": holds(request.user, Permission.MANAGE_CAS),
        "second_person": not one_person_is_enough(),
        "steps": [{"label": step.label, "done": number < at, "now": number == at} for number, step in enumerate(STEPS)],
        "is_open": addition.state in CAAddition.OPEN,
        "chain": chain,
        # Shown only after the comparison: a person who can copy it compares it with itself.
        "root": Root(chain_of(addition)[-1]) if compared and chain else None,
        "constraints": name_constraints_of(chain_of(addition)) if compared and chain else [],
        "now": now,
    }
    return render(request, "cas/addition.html", context, status=422 if wrong else 200)
