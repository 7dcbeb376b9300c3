"""A forgotten password: a mail with a link that works once, and the page behind it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.views import PasswordResetConfirmView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.http import require_http_methods

from audit.changes import attribute
from audit.log import Actor
from certs.access.login_limits import network_of
from certs.access.rates import Limit, use
from certs.access.sessions import end_sessions
from certs.errors import TooMany
from certs.notifications.delivery.password_reset import ask_for_mail
from certs.views.client_ip import client_address

MOST_CHARACTERS = 254
HOUR = timedelta(hours=1)


@require_http_methods(["GET", "HEAD", "POST"])
def forgotten(request: HttpRequest) -> HttpResponse:
    """GET shows the form; POST answers the same for every name and address."""
    if request.method != "POST":
        return render(request, "account/forgotten.html")
    typed = request.POST.get("who", "").strip()[:MOST_CHARACTERS]
    if not typed:
        error = "Type your user name or your mail address."
        return render(request, "account/forgotten.html", {"error": error}, status=422)
    try:
        use([Limit("password-reset", network_of(client_address(request)), 20, HOUR)], message="")
    except TooMany as exc:
        context = {"error": f"Too many requests from here. {exc.next_step}", "who": typed}
        response = render(request, "account/forgotten.html", context, status=429)
        response["Retry-After"] = str(exc.retry_after)
        return response
    user = _account(typed)
    # The limit of an account is reached silently: its answer must not say that there is one.
    try:
        use([Limit("password-reset-of", str(user.pk if user else 0), 3 if user else 2**31, HOUR)], message="")
    except TooMany:
        user = None
    ask_for_mail(user)
    return render(request, "account/forgotten_sent.html", {"who": typed})


def _account(typed: str) -> Any:
    """Return the one active account of a user name or a mail address; None where there are several."""
    accounts = get_user_model().objects.filter(is_active=True)
    found = list(accounts.filter(username=typed)[:1]) or list(accounts.filter(email__iexact=typed)[:2])
    return found[0] if len(found) == 1 else None


class NewPassword(PasswordResetConfirmView):
    """The page behind the link. The token is moved into the session first, so that no Referer names it."""

    template_name = "account/new_password.html"
    success_url = reverse_lazy("login")

    def get_user(self, uidb64: str) -> Any:
        """Return the account of the link; None for one that was switched off since the mail was sent."""
        user: Any = super().get_user(uidb64)
        return user if user is not None and user.is_active else None

    def form_valid(self, form: Any) -> HttpResponse:
        """Effects: the password and its audit event, API tokens and every session of the account end."""
        user = form.user
        with transaction.atomic():
            attribute(user, Actor("user", user.get_username()))
            super().form_valid(form)
            end_sessions(user)
        messages.success(self.request, "Your new password is set. Sign in with it.", extra_tags="good")
        return redirect(self.success_url)

    def form_invalid(self, form: Any) -> HttpResponse:
        response = super().form_invalid(form)
        response.status_code = 422
        return response
