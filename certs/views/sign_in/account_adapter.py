"""What django-allauth asks the portal about accounts and sign-ins."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import get_login_redirect_url
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from certs.access.sessions import signed_in_recently
from certs.views.sign_in.completion import complete

_TAGS = {messages.SUCCESS: "good", messages.INFO: "info", messages.WARNING: "wait", messages.ERROR: "bad"}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc] # allauth has no types
    """Named by settings.ACCOUNT_ADAPTER."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody makes an account alone: accounts come from administrators, invitations and identity providers."""
        return False

    def is_safe_url(self, url: str) -> bool:
        """Go on only inside the portal, at the host of the request."""
        return url_has_allowed_host_and_scheme(url, allowed_hosts={self.request.get_host()}, require_https=self.request.is_secure())

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponse:
        """Say no more than after a wrong password."""
        messages.error(request, "You cannot sign in with this account. Ask an administrator.", extra_tags="bad")
        return redirect("login")

    def post_login(self, request: HttpRequest, user: Any, *, redirect_url: str | None, **_: Any) -> HttpResponse:
        """Every way in ends here."""
        response = HttpResponseRedirect(get_login_redirect_url(request, redirect_url))
        complete(request, user, response)
        return response

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Ask nobody again who signed in within the last minutes."""
        if signed_in_recently(self.request):
            return False
        return bool(super().is_reauthentication_required(app=app, **kwargs))

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Return the ways to show again who one is. Signing in anew always works."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        words = {
            "reauthenticate": "Use your password",
            "mfa_reauthenticate": "Use a code of your app",
            "mfa_reauthenticate:webauthn": "Use a passkey",
        }
        for method in methods:
            method["description"] = words.get(method["id"], method["description"])
        if not methods and user.is_authenticated:
            anew = {"id": "sign-in-anew", "description": "Sign in anew", "url": reverse("sign-in-anew")}
            methods.append(anew)
        return methods

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        """Show a message in the colours of the portal."""
        tags = extra_tags or _TAGS.get(level, "info")
        super().add_message(request, level, message_template, message_context, tags, message)

    def send_notification_mail(self, *_: Any, **__: Any) -> None:
        """Send nothing here: each change of a factor is mailed by `certs.notifications`, in its transaction."""
