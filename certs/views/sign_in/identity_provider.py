"""The client of OpenID Connect: django-allauth's, and what it leaves out.

Added here: a nonce, the verification of the ID token's signature, the comparison of issuers, and no
parameters of the authorization request that come from a link.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import Any

import requests
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from certs.access import login_limits
from certs.access.sign_in.id_token import CLOCK_SKEW_SECONDS, TokenRefused, verify_id_token, verify_logout_token
from certs.access.sign_in.identities import end_sessions_of_subject, provider_id
from certs.errors import TooMany
from certs.views.client_ip import client_address
from certs.views.sign_in.guessing import TOO_MANY, count_new_session

log = logging.getLogger(__name__)

# What the portal reads of a person; everything else of the provider is not kept.
_CLAIMS = ("sub", "email", "email_verified", "preferred_username", "given_name", "family_name", "_claim_names")


def nonce_of(code_verifier: str) -> str:
    """Return the nonce of a sign-in, bound to its session by the PKCE verifier that is kept there."""
    return hashlib.sha256(b"nonce " + code_verifier.encode()).hexdigest()


class Client(OpenIDConnectOAuth2Adapter):  # type: ignore[misc] # allauth has no types
    """The exchange of a code for claims that are verified."""

    _verifier = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        """The provider's metadata (OpenID Connect Discovery 1.0, 4), of the issuer in the settings."""
        config: Any = super().openid_config
        if not isinstance(config, dict) or config.get("issuer", "").rstrip("/") != settings.PKI_OIDC_ISSUER:
            raise OAuth2Error("The provider names another issuer than PKI_OIDC_ISSUER.")
        return dict(config)

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return request.build_absolute_uri(reverse("openid_connect_callback"))

    def get_access_token_data(
        self, request: HttpRequest, app: SocialApp, client: Any, pkce_code_verifier: str | None = None
    ) -> dict[str, Any]:
        self._verifier = pkce_code_verifier or ""
        if not self._verifier:
            raise OAuth2Error("The sign-in has no code verifier (PKCE).")
        found: dict[str, Any] = super().get_access_token_data(request, app, client, pkce_code_verifier)
        return found

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **more: Any) -> Any:
        """Return the login of the verified subject. Raises OAuth2Error."""
        config = self.openid_config
        try:
            claims = verify_id_token(
                str(more["response"].get("id_token", "")),
                keys=self._fetched(config["jwks_uri"]),
                issuer=config["issuer"],
                client_id=app.client_id,
                nonce=nonce_of(self._verifier),
            )
        except TokenRefused as exc:
            raise OAuth2Error(str(exc)) from exc
        if settings.PKI_OIDC_GROUPS_CLAIM not in claims and "userinfo_endpoint" in config:
            info = self._fetched(config["userinfo_endpoint"], bearer=token.token)
            if info.get("sub") != claims["sub"]:  # OpenID Connect Core 1.0, 5.3.2
                raise OAuth2Error("The UserInfo response is about another subject than the ID token.")
            claims = info | claims
        kept = {name: claims[name] for name in (*_CLAIMS, settings.PKI_OIDC_GROUPS_CLAIM) if name in claims}
        return self.get_provider().sociallogin_from_response(request, {"id_token": kept})

    def logout_claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a verified logout token. Raises TokenRefused, and what a provider that is away raises."""
        config = self.openid_config
        return verify_logout_token(
            token,
            keys=self._fetched(config["jwks_uri"]),
            issuer=config["issuer"],
            client_id=settings.PKI_OIDC_CLIENT_ID,
        )

    def _fetched(self, address: str, *, bearer: str = "") -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        with get_adapter().get_requests_session() as session:
            answer = session.get(address, headers=headers, allow_redirects=False)
            answer.raise_for_status()
            found = answer.json()
        if not isinstance(found, dict):
            raise OAuth2Error("The provider sent something else than a JSON object.")
        return found


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    """The provider in the settings. Named by settings.SOCIALACCOUNT_PROVIDERS."""

    oauth2_adapter_class = Client

    def get_pkce_params(self) -> dict[str, str]:
        params: dict[str, str] = super().get_pkce_params()
        return params | {"nonce": nonce_of(params["code_verifier"])}

    def get_auth_params_from_request(self, request: HttpRequest, action: str) -> dict[str, Any]:
        """Nothing from the request: a link could name another redirect_uri or state."""
        return dict(self.get_auth_params())

    def get_scope_from_request(self, request: HttpRequest) -> list[str]:
        return list(self.get_scope())

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        wanted: dict[str, Any] = super().get_redirect_from_request_kwargs(request)
        connects = wanted["process"] == "connect" and request.user.is_authenticated
        return wanted | {"process": "connect" if connects else "login"}


@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider.

    Through a page of the portal: after a form, browsers follow no redirect to an origin that the
    page's form-action does not name (CSP Level 3, 6.3.1).
    """
    if not settings.PKI_OIDC_ISSUER:
        raise Http404
    try:
        if not request.session.session_key:
            count_new_session(request)
    except TooMany as exc:
        messages.error(request, f"{exc.message} {exc.next_step}", extra_tags="bad")
        return redirect("login")
    try:
        response = OAuth2LoginView.adapter_view(Client(request, provider_id()))(request)
    except (requests.RequestException, OAuth2Error, KeyError, ValueError):
        return unreachable(request)
    if response.status_code != 302 or response["Location"].startswith("/"):
        return response  # type: ignore[no-any-return]
    context = {"address": response["Location"], "provider": settings.PKI_OIDC_NAME}
    return render(request, "account/go_on.html", context)


@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take the provider's answer."""
    if not settings.PKI_OIDC_ISSUER:
        raise Http404
    tried = login_limits.attempt_from(client_address(request))
    if tried is None:
        messages.error(request, TOO_MANY, extra_tags="bad")
        return redirect("login")
    try:
        response = OAuth2CallbackView.adapter_view(Client(request, provider_id()))(request)
    except (KeyError, ValueError, TypeError, AttributeError):
        # The library reads the provider's JSON without looking at its shape.
        return unreachable(request)
    login_limits.confirmed(tried)
    return response  # type: ignore[no-any-return]


@csrf_exempt  # the provider sends it, with a signature of its own and no session
@never_cache
@require_POST
def ended(request: HttpRequest) -> HttpResponse:
    """End the sessions of a person whom the provider has signed out (OpenID Connect Back-Channel Logout 1.0, 2.5).

    A subject that has no account here is answered like one that has: nothing is left to end.
    """
    if not settings.PKI_OIDC_ISSUER:
        raise Http404
    # Before the keys are fetched: strangers must not make the portal call the provider as often as they like.
    tried = login_limits.attempt_from(client_address(request))
    if tried is None:
        return JsonResponse({"error": "invalid_request", "error_description": TOO_MANY}, status=429)
    try:
        claims = Client(request, provider_id()).logout_claims(request.POST.get("logout_token", ""))
    except (TokenRefused, requests.RequestException, OAuth2Error, KeyError, ValueError) as exc:
        login_limits.failed(tried)
        log.warning("a logout token was refused: %s", exc if isinstance(exc, TokenRefused) else type(exc).__name__)
        return JsonResponse({"error": "invalid_request", "error_description": "The logout token was not accepted."}, status=400)
    login_limits.confirmed(tried)
    asked_at = datetime.fromtimestamp(claims["iat"] + CLOCK_SKEW_SECONDS, tz=UTC)
    end_sessions_of_subject(claims["sub"], asked_at=asked_at)
    return HttpResponse(status=204)


def unreachable(request: HttpRequest) -> HttpResponse:
    """Say that the provider does not work, and what does."""
    messages.error(
        request,
        f"{settings.PKI_OIDC_NAME} cannot be reached, or does not answer as it should. "
        "Sign in with a password or a passkey if you have one, or try again in some minutes.",
        extra_tags="bad",
    )
    return redirect("login")
