"""The end of every way in: one place puts a sign-in on record, whatever the person showed."""

from __future__ import annotations

from typing import Any

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from certs.access import login_limits
from certs.access.sessions import note_session
from certs.views.client_ip import client_address
from certs.views.sign_in.guessing import device_of

OIDC = "oidc"
_SHOWN = "sign_in_shown"


def note_password(request: HttpRequest, user: Any, before: dict[str, Any]) -> None:
    """Remember in the session that the password was right; a second factor may have to follow."""
    request.session[_SHOWN] = {"user": user.pk, "before": before}


def complete(request: HttpRequest, user: Any, response: HttpResponse) -> None:
    """Put a sign-in on record: its audit event, its session, its place, and the cookie of its device."""
    shown = request.session.pop(_SHOWN, None)
    password = isinstance(shown, dict) and shown.get("user") == user.pk
    records = get_authentication_records(request, user)
    methods = [login_limits.PASSWORD] if password else []
    methods += [OIDC if one["method"] == "socialaccount" else str(one.get("type", one["method"])) for one in records]
    address = client_address(request)
    with transaction.atomic():
        device = login_limits.signed_in(
            user.get_username(),
            address,
            device=device_of(request),
            methods=list(dict.fromkeys(methods)),
            before=shown["before"] if password and shown else {},
        )
        note_session(request, user, address=address)
    response.set_cookie(
        login_limits.DEVICE_COOKIE,
        device,
        max_age=login_limits.KNOWN_FOR,
        path=reverse("login"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
