"""API tokens of the signed-in user: made, shown once, replaced, revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.access.api_tokens import MOST_DAYS, SCOPE_WORDS, create_token, revoke_token, rotate_token
from certs.access.permissions import teams_of
from certs.errors import InputRefused, NotFound
from certs.models import ApiToken
from certs.notifications.changes_of_power import notify_of_token
from certs.requests.exposure.refused_secrets import refuse_secrets
from certs.views.access import actor_of, authority_of, page, requester_of
from certs.views.kept_forms import typed_of
from db.clock import database_now

DEFAULT_SCOPES = ("certificates:issue", "certificates:read")
# How long the old token works beside the new one: hours, and words.
OVERLAPS = {"0": "at once", "1": "in an hour", "24": "in a day", "168": "in a week", "720": "in 30 days"}
_SHOWN_ENDED = timedelta(days=30)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    try:
        token, secret = _made(request)
    except InputRefused as exc:
        return _show(request, error=exc, typed=typed_of(request), status=exc.status)
    return _show(request, secret=secret, made=token)


def _show(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    """The page. `secret` with `made`: a token that is shown this once; `error` with `typed`: a form to be corrected."""
    now = database_now()
    rows = ApiToken.objects.filter(user=request.user.pk).select_related("team").order_by("-pk")
    typed = more.get("typed")
    chosen = typed.getlist("scopes") if typed is not None else DEFAULT_SCOPES
    living = [row for row in rows if row.revoked_at is None and row.expires_at > now]
    context = {
        "living": [(row, _may(row)) for row in living],
        "ended": [row for row in rows if row not in living and max(row.revoked_at or row.expires_at, row.created_at) > now - _SHOWN_ENDED],
        "scopes": [(name, words, name in chosen) for name, (_, words) in SCOPE_WORDS.items()],
        "teams": teams_of(request.user),
        "now": now,
        "most_days": MOST_DAYS,
        "overlaps": OVERLAPS.items(),
        **more,
    }
    return render(request, "portal/tokens.html", context, status=status)


def _may(token: ApiToken) -> str:
    return ", ".join(SCOPE_WORDS[scope][0] for scope in SCOPE_WORDS if scope in token.scopes)


def _made(request: HttpRequest) -> tuple[ApiToken, str]:
    given = request.POST
    name, days = given.get("name", "").strip(), given.get("days", "90")
    if not 0 < len(name) <= 64:
        raise InputRefused("A token needs a name of at most 64 characters.", field="name", next_step="Name it after what will use it.")
    if not (days.isascii() and days.isdecimal() and len(days) <= 4) or not 1 <= int(days) <= MOST_DAYS:
        raise InputRefused(f"A token lives 1 to {MOST_DAYS} days.", field="days", next_step="For example 90.")
    if not given.getlist("scopes"):
        raise InputRefused("A token that may do nothing is of no use.", field="scopes", next_step="Choose at least one.")
    team = requester_of(request, given.get("team", "")).team
    refuse_secrets(name, actor=actor_of(request), team=team.slug, field="name", channel="portal")
    expires = database_now() + timedelta(days=int(days))
    actor = actor_of(request)
    with transaction.atomic():
        token, secret = create_token(
            user=request.user, team=team, name=name, scopes=given.getlist("scopes"), expires_at=expires, actor=actor
        )
        notify_of_token(token, actor=actor)
    return token, secret


@page
@require_POST
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the token that takes over, and show it once."""
    old = _own(request, pk)
    hours = request.POST.get("overlap", "")
    if hours not in OVERLAPS:
        raise InputRefused("Choose when the old token stops.", field="overlap", next_step="Choose from the list.")
    with transaction.atomic():
        new, secret = rotate_token(old, overlap=timedelta(hours=int(hours)), authority=authority_of(request))
        notify_of_token(new, actor=actor_of(request))
    old.refresh_from_db()
    return _show(request, secret=secret, made=new, replaced=old)


@page
@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    revoke_token(_own(request, pk), authority=authority_of(request))
    return redirect("tokens")


def _own(request: HttpRequest, pk: int) -> ApiToken:
    token = ApiToken.objects.filter(pk=pk, user=request.user.pk).first()
    if token is None:
        raise NotFound("no such token")
    return token
