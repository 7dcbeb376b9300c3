"""What every page shares: who asks, and how a refusal is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from audit.log import Actor
from certs.access.membership import teams_of
from certs.access.permissions import Authority
from certs.errors import NotFound, PortalError
from certs.requests.submit import Requester
from keys.errors import KeyBackendError
from policy.errors import PolicyError

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """Signed in, and every refusal a page that says why and what would pass, with its own status."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated and request.headers.get("HX-Request"):
            # a part of a page that asks for itself: the whole page goes to the sign-in, not the sign-in into the part
            return HttpResponse(headers={"HX-Redirect": settings.LOGIN_URL})
        response = signed_in(request, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    @login_required
    def signed_in(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except NotFound as exc:
            raise Http404 from exc
        except PortalError as exc:
            return render(request, "portal/refused.html", {"error": exc}, status=exc.status)
        except (KeyBackendError, PolicyError) as exc:
            refused = PortalError(str(exc), next_step=getattr(exc, "next_step", ""))
            return render(request, "portal/refused.html", {"error": refused}, status=503)

    return wrapped


def actor_of(request: HttpRequest) -> Actor:
    return Actor("user", request.user.get_username())


def authority_of(request: HttpRequest) -> Authority:
    return Authority(actor_of(request), request.user)


def requester_of(request: HttpRequest, slug: str, *, idempotency_key: str = "") -> Requester:
    """Who asks, for the team of that slug (or the only one). Raises NotFound for a team that is not theirs."""
    teams = teams_of(request.user)
    team = next((team for team in teams if team.slug == slug), None) if slug else (teams[0] if teams else None)
    if team is None:
        raise NotFound("no such team")
    scope = f"user:{request.user.pk}" if idempotency_key else ""
    return Requester(
        actor=actor_of(request), team=team, door="portal", user=request.user, idempotency_scope=scope, idempotency_key=idempotency_key
    )
