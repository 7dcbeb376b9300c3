"""API tokens of the signed-in user: made, shown once, revoked."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.access.api_tokens import MOST_DAYS, SCOPES, create_token, revoke_token
from certs.access.membership import teams_of
from certs.errors import InputRefused, NotFound
from certs.models import ApiToken
from certs.notifications.changes_of_power import tell_token_made
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, authority_of, page, requester_of
from db.clock import database_now


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    secret = _made(request) if request.method == "POST" else ""
    rows = ApiToken.objects.filter(user=request.user.pk).select_related("team").order_by("-pk")
    context = {
        "rows": rows,
        "secret": secret,
        "scopes": SCOPES,
        "teams": teams_of(request.user),
        "now": database_now(),
        "most_days": MOST_DAYS,
    }
    return render(request, "portal/tokens.html", context)


def _made(request: HttpRequest) -> str:
    given = request.POST
    name, days = given.get("name", "").strip(), given.get("days", "90")
    if not 0 < len(name) <= 64:
        raise InputRefused("A token needs a name of at most 64 characters.", field="name", next_step="Name it after what will use it.")
    if not (days.isascii() and days.isdecimal() and len(days) <= 4) or not 1 <= int(days) <= MOST_DAYS:
        raise InputRefused(f"A token lives 1 to {MOST_DAYS} days.", field="days", next_step="For example 90.")
    team = requester_of(request, given.get("team", "")).team
    refuse_secrets(name, actor=actor_of(request), team=team.slug, field="name", channel="portal")
    expires = database_now() + timedelta(days=int(days))
    actor = actor_of(request)
    with transaction.atomic():
        token, secret = create_token(
            user=request.user, team=team, name=name, scopes=given.getlist("scopes"), expires_at=expires, actor=actor
        )
        tell_token_made(token, actor=actor)
    return secret


@page
@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    token = ApiToken.objects.filter(pk=pk, user=request.user.pk).first()
    if token is None:
        raise NotFound("no such token")
    revoke_token(token, authority=authority_of(request))
    return redirect("tokens")
