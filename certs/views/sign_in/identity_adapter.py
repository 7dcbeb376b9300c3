"""What django-allauth asks the portal about identities: who they are here, and who gets an account."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount import app_settings as socialaccount_settings
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError, AuthProcess
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import Resolver404, resolve, reverse

from certs.access import login_limits
from certs.access.sign_in.group_mapping import GroupsUnreadable, apply_groups, given_by, groups_in
from certs.access.sign_in.identities import known_account, new_account, note_person, provider_id
from certs.errors import Conflict, NotFound, NotPermitted
from certs.people.invitations import accept_with_identity
from certs.views.client_ip import client_address
from certs.views.sign_in.identity_provider import unreachable
from keys.bounded import BoundedCalls, BoundedSession

log = logging.getLogger(__name__)

PROVIDER_SECONDS = 15.0
_calls = BoundedCalls(most=8)


class IdentityAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc] # allauth has no types
    """Named by settings.SOCIALACCOUNT_ADAPTER."""

    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[SocialApp]:
        """Return the provider of the settings. The library's table of providers is not read: it would hold the secret."""
        ours = provider_id()
        if not settings.PKI_OIDC_ISSUER or provider not in (None, ours, "openid_connect"):
            return []
        app = SocialApp(
            provider="openid_connect",
            provider_id=ours,
            name=settings.PKI_OIDC_NAME,
            client_id=settings.PKI_OIDC_CLIENT_ID,
            secret=settings.PKI_OIDC_CLIENT_SECRET,
            settings={
                "server_url": settings.PKI_OIDC_ISSUER,
                "oauth_pkce_enabled": True,
                "scope": settings.PKI_OIDC_SCOPES,
                "token_auth_method": "client_secret_basic",
            },
        )
        return [app]

    def get_requests_session(self) -> requests.Session:
        """Return a session whose requests end in time: they are made by a web process, whose threads serve every page."""
        session = BoundedSession(_calls, seconds=PROVIDER_SECONDS)
        bounded = session.request
        vars(session)["request"] = partial(bounded, timeout=socialaccount_settings.REQUESTS_TIMEOUT)
        if settings.PKI_OIDC_CA_BUNDLE:
            session.verify = settings.PKI_OIDC_CA_BUNDLE
        return session

    def get_connect_redirect_url(self, request: HttpRequest, socialaccount: Any) -> str:
        return reverse("mfa_index")

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Find the account of the verified subject, or make one, and apply its groups.

        Raises ImmediateHttpResponse, with the page that says why, for a person who does not get in.
        """
        sociallogin.token = None  # never needed again, and would stand in the session
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            return
        claims = sociallogin.account.extra_data["id_token"]
        try:
            groups = groups_in(claims)
        except GroupsUnreadable:
            self._refuse(
                request,
                "Your identity provider did not send your groups, so your rights here are not known. "
                "Ask the administrators of this portal.",
            )
        invitation = _invitation(sociallogin)
        with transaction.atomic():
            if not sociallogin.is_existing:
                account = known_account(claims)
                if account is None and invitation:
                    account = self._invited(request, invitation, claims)
                if account is None and settings.PKI_OIDC_SIGN_UP and given_by(groups):
                    account = new_account(claims)
                if account is not None:
                    sociallogin.connect(request, account)
            gets_in = sociallogin.is_existing and sociallogin.user.is_active
            if gets_in:
                note_person(sociallogin.user, claims)
                gets_in = apply_groups(sociallogin.user, groups)
                # An account that the invitation made and the groups leave with nothing: the invitation stays open.
                transaction.set_rollback(not gets_in and bool(invitation))
        if not gets_in:
            self._refuse(
                request,
                f"{settings.PKI_OIDC_NAME} knows you, but you have no account in this portal, or no right in it any more. "
                "If you have a password here, sign in with it and connect the two on your account's page. "
                "Otherwise ask the administrators of this portal.",
            )

    def _invited(self, request: HttpRequest, token: str, claims: dict[str, Any]) -> Any:
        """Return the account that the invitation makes; None for an invitation that does not count."""
        try:
            return accept_with_identity(token, claims=claims)
        except NotFound:
            return None
        except (NotPermitted, Conflict) as exc:
            self._refuse(request, f"{exc.message} {exc.next_step}")

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        """Lead back to the sign-in, and say what to do. The details are for the log."""
        log.warning("sign-in at %s failed: %s %s", settings.PKI_OIDC_ISSUER, error, type(exception).__name__)
        if isinstance(exception, requests.RequestException):
            raise ImmediateHttpResponse(unreachable(request))
        if error == AuthError.CANCELLED:
            self._refuse(request, f"You did not go on at {settings.PKI_OIDC_NAME}, so you are not signed in.")
        self._refuse(
            request,
            f"The sign-in with {settings.PKI_OIDC_NAME} did not succeed: its answer was too old, used already, "
            "or not meant for this portal. Try again.",
        )

    def _refuse(self, request: HttpRequest, message: str) -> NoReturn:
        tried = login_limits.attempt_from(client_address(request))
        if tried is not None:
            login_limits.failed(tried)
        messages.error(request, message, extra_tags="bad")
        raise ImmediateHttpResponse(redirect("login"))


def _invitation(sociallogin: SocialLogin) -> str:
    """Return the token of the invitation from whose page the person came; nothing where it was another page."""
    try:
        match = resolve(urlsplit(sociallogin.state.get("next") or "").path)
    except Resolver404:
        return ""
    return str(match.kwargs["token"]) if match.view_name == "invitation" else ""
