"""How a person signs in: second factors, passkeys and recovery codes of the own account."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from certs.access.sessions import end_other_sessions
from certs.access.sign_in.identities import disconnect, identities_of
from certs.access.sign_in.required_factors import FACTORS, grace_of, requires_second_factor
from certs.access.sign_in.second_factors import LONGEST_NAME, factors_of, remove_factor, rename_passkey
from certs.errors import Conflict, NotFound
from certs.views.access import actor_of, page

Type = Authenticator.Type


@page
@require_http_methods(["GET", "HEAD"])
def index(request: HttpRequest) -> HttpResponse:
    """Show the second factors, and what may be added."""
    return _show(request)


def _show(request: HttpRequest, *, error: Conflict | None = None, renamed: int = 0) -> HttpResponse:
    rows = factors_of(request.user)
    codes = next((row for row in rows if row.type == Type.RECOVERY_CODES), None)
    context: dict[str, Any] = {
        "factors": [row for row in rows if row.type in FACTORS],
        "app": any(row.type == Type.TOTP for row in rows),
        "codes": codes,
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else 0,
        "identities": identities_of(request.user),
        "provider": settings.PKI_OIDC_NAME if settings.PKI_OIDC_ISSUER else "",
        "required": requires_second_factor(request.user),
        "grace": grace_of(request.user),
        "longest": LONGEST_NAME,
        "error": error,
        "renamed": renamed,
    }
    status = 200 if error is None else 422
    return render(request, "account/security.html", context, status=status)


def _removal(request: HttpRequest, row: Authenticator, factors: list[Authenticator]) -> dict[str, Any]:
    required = requires_second_factor(request.user)
    return {"factor": row, "last": len(factors) == 1, "required": required}


@page
@require_POST
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a passkey another name."""
    try:
        rename_passkey(request.user, pk, request.POST.get("name", ""), actor=actor_of(request))
    except Conflict as exc:
        return _show(request, error=exc, renamed=pk)
    messages.success(request, "The passkey has its new name.", extra_tags="good")
    return redirect("mfa_index")


@page
@require_http_methods(["GET", "HEAD", "POST"])
@reauthentication_required(app="allauth.mfa")  # type: ignore[untyped-decorator]
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """GET says what is lost with the factor, POST removes it."""
    factors = [row for row in factors_of(request.user) if row.type in FACTORS]
    row = next((one for one in factors if one.pk == pk), None)
    if row is None:
        raise NotFound("There is no such second factor.")
    if request.method != "POST":
        return render(request, "account/remove_factor.html", _removal(request, row, factors))
    with transaction.atomic():
        name = remove_factor(request.user, pk, actor=actor_of(request))
        end_other_sessions(request)  # who has the lost passkey may be signed in with it
    messages.success(request, f"{name} is removed from your account. Your other sessions have ended.", extra_tags="good")
    return redirect("mfa_index")


@page
@require_http_methods(["GET", "HEAD", "POST"])
@reauthentication_required(app="allauth.socialaccount")  # type: ignore[untyped-decorator]
def disconnect_identity(request: HttpRequest, pk: int) -> HttpResponse:
    """GET says what is lost with the identity, POST disconnects it."""
    row = next((one for one in identities_of(request.user) if one.pk == pk), None)
    if row is None:
        raise NotFound("There is no such identity.")
    if request.method != "POST":
        return render(request, "account/disconnect.html", {"identity": row, "provider": settings.PKI_OIDC_NAME})
    with transaction.atomic():
        disconnect(request.user, pk, actor=actor_of(request))
        end_other_sessions(request)
    text = f"{settings.PKI_OIDC_NAME} does not sign you in any more. Your other sessions have ended."
    messages.success(request, text, extra_tags="good")
    return redirect("mfa_index")
