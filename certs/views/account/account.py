"""A person's own account: password, time zone, sessions; and the zone in which pages write times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from functools import cache
from itertools import groupby
from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from audit.changes import attribute
from certs.access import login_limits
from certs.access.permissions import teams_of
from certs.access.sessions import end_other_sessions, end_session, note_session, sessions_of
from certs.access.sign_in.second_factors import factors_of
from certs.access.time_zones import choose_zone, time_zones, zone_of
from certs.errors import InputRefused, TooMany
from certs.models import ApiToken
from certs.views.access import actor_of, page
from certs.views.client_ip import client_address
from certs.views.sign_in.guessing import WAIT_SECONDS, password_try
from db.clock import database_now


def reader(request: HttpRequest) -> dict[str, Any]:
    """For every page: a function that returns the zone in which it writes times. Read once, when it is needed."""
    user = getattr(request, "user", None)
    return {"reader_zone": cache(lambda: zone_of(user) if user is not None and user.is_authenticated else UTC)}


@sensitive_post_parameters()
@page
@require_http_methods(["GET", "HEAD", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """GET shows the account; POST `do` changes one thing of it."""
    if request.method != "POST":
        user: Any = request.user
        return _show(request, PasswordChangeForm(user))
    act = _ACTS.get(request.POST.get("do", ""))
    if act is None:
        raise InputRefused("There is no such action.", field="do", next_step="Open the page again.")
    return act(request)


def _show(request: HttpRequest, form: PasswordChangeForm, *, status: int = 200) -> HttpResponse:
    zones = [(area, list(names)) for area, names in groupby(time_zones(), key=lambda name: name.partition("/")[0])]
    context = {
        "form": form,
        "sessions": sessions_of(request.user),
        "this_session": request.session.session_key,
        "zones": zones,
        "zone": str(zone_of(request.user)),
        "teams": teams_of(request.user),
        "second_factors": _in_words(factors_of(request.user)),
        "tokens": ApiToken.objects.filter(user=request.user.pk, revoked_at=None, expires_at__gt=database_now()).count(),
        "now": database_now(),
    }
    return render(request, "account/index.html", context, status=status)


def _in_words(factors: list[Authenticator]) -> str:
    """Return "an authenticator app and 2 passkeys"; nothing where there is no factor."""
    passkeys = sum(row.type == Authenticator.Type.WEBAUTHN for row in factors)
    words = ["an authenticator app"] if any(row.type == Authenticator.Type.TOTP for row in factors) else []
    if passkeys:
        words.append(f"{passkeys} passkeys" if passkeys > 1 else "a passkey")
    return " and ".join(words)


def _password(request: HttpRequest) -> HttpResponse:
    """Change the password under the limits of the sign-in: the old one could be guessed here too.

    Effects: the account and its audit event, API tokens and other sessions end, this session stays.
    """
    user: Any = request.user
    tried = password_try(request, user)
    if tried is None:
        raise TooMany("Too many wrong passwords. Your password was not changed.", retry_after=WAIT_SECONDS)
    form = PasswordChangeForm(user, request.POST)
    if not form.is_valid():
        if "old_password" in form.errors:
            login_limits.failed(tried)
        else:
            login_limits.confirmed(tried)
        return _show(request, form, status=422)
    login_limits.confirmed(tried)
    with transaction.atomic():
        attribute(form.user, actor_of(request))
        form.save()
        update_session_auth_hash(request, form.user)
        end_other_sessions(request)
        note_session(request, form.user, address=client_address(request))
    messages.success(request, "Your password is changed. Your other sessions and your API tokens have ended.", extra_tags="good")
    return redirect("account")


def _zone(request: HttpRequest) -> HttpResponse:
    choose_zone(request.user, request.POST.get("time_zone", ""))
    messages.success(request, f"Times are shown in {request.POST['time_zone']} now.", extra_tags="good")
    return redirect("account")


def _end(request: HttpRequest) -> HttpResponse:
    number = request.POST.get("session", "")
    if number.isdecimal() and len(number) < 19 and end_session(request.user, int(number)):
        messages.success(request, "The session has ended.", extra_tags="good")
    return redirect("account")


def _end_others(request: HttpRequest) -> HttpResponse:
    end_other_sessions(request)
    messages.success(request, "All your other sessions have ended.", extra_tags="good")
    return redirect("account")


_ACTS: dict[str, Callable[[HttpRequest], HttpResponse]] = {
    "password": _password,
    "zone": _zone,
    "end": _end,
    "end-others": _end_others,
}
