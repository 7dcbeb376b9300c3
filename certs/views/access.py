"""What every page shares: who asks, and how a refusal is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from audit.log import Actor
from certs.access.permissions import Authority, teams_of
from certs.access.sessions import note_use
from certs.enums import Channel
from certs.errors import Busy, Conflict, NotFound, NotPermitted, PortalError, TooMany
from certs.models import Team
from certs.requests.submit import Requester
from certs.views.kept_forms import form_of, keep_for_sign_in
from keys.errors import KeyBackendError
from policy.errors import PolicyConflict, PolicyError, PublicationRefused

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """Signed in, and every refusal a page that says why and what would pass, with its own status."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            if request.headers.get("HX-Request"):
                # a part of a page that asks for itself: the whole page goes to the sign-in, not the sign-in into the part
                return HttpResponse(headers={"HX-Redirect": _sign_in(_page_around(request))})
            if request.method == "POST" and keep_for_sign_in(request):
                return redirect(_sign_in(reverse("send-again")))
        response = signed_in(request, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    @login_required
    def signed_in(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        note_use(request)
        try:
            return view(request, *args, **kwargs)
        except NotFound as exc:
            raise Http404 from exc
        except PortalError as exc:
            return refused(request, exc)
        except (KeyBackendError, PolicyError) as exc:
            return refused(request, _translated(exc))

    return wrapped


def _page_around(request: HttpRequest) -> str:
    """Return the path of the page that a part of it stands on; empty where the browser says no address."""
    try:
        return urlsplit(request.headers.get("HX-Current-URL", "")).path
    except ValueError:
        return ""


def _translated(exc: KeyBackendError | PolicyError) -> PortalError:
    """Return the same for people: a conflict, a missing right, or something that is away."""
    if isinstance(exc, PolicyConflict):
        return Conflict(str(exc))
    if isinstance(exc, PublicationRefused):
        return NotPermitted(str(exc))
    error = PortalError(str(exc), next_step=getattr(exc, "next_step", ""))
    error.status = 503
    return error


_HEADINGS = {
    403: "You may not do this",
    409: "This cannot be done now",
    429: "Too many in a short time",
    503: "This cannot be done at the moment",
}


def refused(request: HttpRequest, error: PortalError) -> HttpResponse:
    """Return the page of a refusal: what happened, what to do, and what was typed."""
    context: dict[str, Any] = {"error": error, "heading": _HEADINGS.get(error.status, "This was not done")}
    if request.method == "POST":
        context["kept"] = form_of(request)
    response = render(request, "portal/refused.html", context, status=error.status)
    if isinstance(error, Busy | TooMany):
        response["Retry-After"] = str(error.retry_after)
    return response


def _sign_in(following: str) -> str:
    return f"{reverse('login')}?{urlencode({'next': following})}" if following else reverse("login")


def actor_of(request: HttpRequest) -> Actor:
    return Actor("user", request.user.get_username())


def authority_of(request: HttpRequest) -> Authority:
    return Authority(actor_of(request), request.user)


def requester_of(request: HttpRequest, slug: str, *, idempotency_key: str = "") -> Requester:
    """Return the signed-in person as requester for the team of that slug, or for the first team. Raises NotFound for a team of others."""
    teams = teams_of(request.user)
    team = next((team for team in teams if team.slug == slug), None) if slug else (teams[0] if teams else None)
    if team is None:
        raise NotFound("no such team")
    return requester_for(request, team, idempotency_key=idempotency_key)


def requester_for(request: HttpRequest, team: Team, *, idempotency_key: str = "") -> Requester:
    """Return the signed-in person as requester for a team; use cases check the membership."""
    scope = f"user:{request.user.pk}" if idempotency_key else ""
    return Requester(actor_of(request), team, Channel.PORTAL, request.user, scope, idempotency_key)
