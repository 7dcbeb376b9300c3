"""Own CAs as guided pages: make one, have a new one take over, distrust one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from certs.access.permissions import Permission, holds
from certs.authorities.overview import CA, ca_of
from certs.authorities.own import KEYS, MOST_COUNTED, distrust_ca, key_is_here, make_own_ca, makes_cas_here, roll_over, waiting_at
from certs.authorities.reissue import check_may_manage
from certs.ca.local.setup import next_name
from certs.errors import Conflict, InputRefused, PortalError
from certs.models import Issuer
from certs.revocation.distrust import REASONS
from certs.views.access import authority_of, page
from certs.views.cas.ca_pages import found_ca
from certs.views.cas.ca_reissue import check_sees
from db.clock import database_now
from keys.errors import KeyBackendError

# What each reason means, for people.
_MEANINGS = {
    "cACompromise": "Its key is in the wrong hands. The key is blocked too.",
    "cessationOfOperation": "It is given up, and its key is safe.",
    "superseded": "Another CA has taken its place.",
    "affiliationChanged": "The organization in its name has changed.",
    "privilegeWithdrawn": "It may not issue any more.",
}


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Make an own CA beneath a root of its own, where this process has the keys of CAs; else say where it is made."""
    check_sees(request)
    wrong: PortalError | None = None
    if request.method == "POST":
        given = {name: request.POST.get(name, "") for name in ("name", "organization", "key", "confirmation")}
        try:
            made = make_own_ca(given, authority=authority_of(request))
        except (InputRefused, Conflict, KeyBackendError) as exc:
            wrong = _as_refusal(exc)
        else:
            messages.success(request, f"{made.name} can issue. Clients must trust its root first.", extra_tags="good")
            return redirect("ca", made.slug)
    else:
        check_may_manage(authority_of(request))
    context = {"wrong": wrong, "given": request.POST, "keys": KEYS, "key_here": makes_cas_here()}
    return render(request, "cas/own_new.html", context, status=wrong.status if wrong else 200)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def succession(request: HttpRequest, slug: str) -> HttpResponse:
    """What a roll-over does and who is affected. It is done here where the root's key is; else the page has the command."""
    ca = _own_issuing_ca(request, slug)
    if ca.issuer.successor_id is not None:
        raise Http404
    wrong: PortalError | None = None
    if request.method == "POST":
        try:
            made = roll_over(
                ca.issuer,
                name=request.POST.get("name", ""),
                key=request.POST.get("key", ""),
                confirmation=request.POST.get("confirmation", ""),
                authority=authority_of(request),
            )
        except (InputRefused, Conflict, KeyBackendError) as exc:
            wrong = _as_refusal(exc)
        else:
            messages.success(request, f"{made.name} has taken over from {ca.issuer.name}.", extra_tags="good")
            return redirect("ca", made.slug)
    context = _context(request, ca) | {
        "wrong": wrong,
        "next_name": next_name(ca.issuer.name),
        "keys": KEYS,
        "key": request.POST.get("key") or (ca.issuer.key.spec if ca.issuer.key else ""),
    }
    return render(request, "cas/roll_over.html", context, status=wrong.status if wrong else 200)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def distrust(request: HttpRequest, slug: str) -> HttpResponse:
    """What distrusting a CA does and whom it affects, and the one form that does it."""
    ca = _own_issuing_ca(request, slug)
    wrong: PortalError | None = None
    if request.method == "POST":
        try:
            left = distrust_ca(
                ca.issuer,
                reason=request.POST.get("reason", ""),
                confirmation=request.POST.get("confirmation", ""),
                authority=authority_of(request),
            )
        except (InputRefused, Conflict) as exc:
            wrong = exc
        else:
            if left is None:
                messages.success(request, f"{ca.issuer.name} is distrusted, and the CRL of its root says so.", extra_tags="good")
            else:
                messages.warning(
                    request,
                    f"{ca.issuer.name} is distrusted here, but the CRL of {left.root.name} does not say so yet. Bring the root's key "
                    f"online and run: manage.py publish_crl --issuer {left.root.slug}",
                    extra_tags="wait",
                )
            return redirect("ca", ca.issuer.slug)
    waiting = waiting_at(ca.issuer)
    context = _context(request, ca) | {
        "wrong": wrong,
        "reasons": [(str(reason), _MEANINGS[str(reason)]) for reason in REASONS],
        "waiting": waiting,
        "more": waiting == MOST_COUNTED,
        "distrusted": ca.issuer.state == Issuer.State.DISTRUSTED,
    }
    return render(request, "cas/distrust.html", context, status=wrong.status if wrong else 200)


def _own_issuing_ca(request: HttpRequest, slug: str) -> CA:
    """Raise Http404 for a person who does not see CAs, and for what is no own issuing CA."""
    check_sees(request)
    ca = found_ca(slug)
    if not ca.is_own or ca.is_root:
        raise Http404
    return ca


def _context(request: HttpRequest, ca: CA) -> dict[str, Any]:
    parent = ca.issuer.parent
    return {
        "ca": ca,
        "root": ca_of(parent.slug) if parent else None,
        "key_here": key_is_here(parent),
        "may_manage": holds(request.user, Permission.MANAGE_CAS),
        "given": request.POST,
        "now": database_now(),
    }


def _as_refusal(exc: PortalError | KeyBackendError) -> PortalError:
    """The key backend that does not work is no fault of the form."""
    if isinstance(exc, PortalError):
        return exc
    return Conflict(f"The key backend did not do it: {exc}", next_step="Nothing is lost: send the form again once it works.")
