"""Signing in and out."""

from __future__ import annotations

from typing import Any

from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from certs.access import login_limits
from certs.access.sessions import end_other_sessions, note_session
from certs.errors import Busy
from certs.views.access import refused
from certs.views.client_ip import client_address
from certs.views.kept_forms import kept_for
from certs.views.sign_in.completion import note_password
from certs.views.sign_in.guessing import WAIT_SECONDS, device_of, password_try

LOCKED = (
    "Too many wrong passwords. You cannot sign in with this name from here now. "
    "Wait 15 minutes, use a device on which you have signed in before, or ask an administrator."
)


class SignIn(LoginView):
    """Limits are checked before the form reads a password, so a refusal tells nothing about it."""

    template_name = "registration/login.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        provider = settings.PKI_OIDC_NAME if settings.PKI_OIDC_ISSUER else ""
        return context | {"kept": kept_for(self.request), "provider": provider}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        name = _name(request)
        if not name or not request.POST.get("password"):  # no password would be checked
            return _unprocessable(self.form_invalid(self.get_form()))
        tried = login_limits.attempt(name, client_address(request), device=device_of(request))
        if tried is None:
            # Not bound: a bound form would compare the password, and show what came of it.
            form = self.get_form_class()(request, initial={"username": name})
            context = self.get_context_data(form=form, locked=LOCKED)
            response = self.render_to_response(context, status=429)
            response["Retry-After"] = str(WAIT_SECONDS)
            return response
        form = self.get_form()
        if not form.is_valid():
            login_limits.failed(tried)
            return _unprocessable(self.form_invalid(form))
        user = form.get_user()
        # The right password forgets wrong passwords only: codes of a second factor are counted apart.
        note_password(request, user, login_limits.confirmed(tried))
        return perform_login(request, user, redirect_url=self.get_success_url())  # type: ignore[no-any-return]


def _name(request: HttpRequest) -> str:
    """As the form reads it: spaces and wide letters make no other user and no other counter."""
    return str(UsernameField(max_length=150).to_python(request.POST.get("username", "")))


def _unprocessable(response: HttpResponse) -> HttpResponse:
    response.status_code = 422
    return response


@sensitive_post_parameters()
def change_password(request: HttpRequest) -> HttpResponse:
    """The admin's page for one's own password, under the limits of the sign-in.

    It asks for the old password, so an unattended or stolen session could otherwise guess it.
    """
    page = admin.site.admin_view(admin.site.password_change, cacheable=True)
    # Who may not enter the admin is sent away by it and has tried nothing, so nothing is forgotten either.
    if request.method != "POST" or not admin.site.has_permission(request):
        return page(request)
    tried = password_try(request, request.user)
    if tried is None:
        locked = Busy(
            "Too many wrong passwords. Your password was not changed.",
            retry_after=WAIT_SECONDS,
            next_step="Wait 15 minutes, or ask an administrator to set a new password.",
        )
        response = refused(request, locked)
        response.status_code = 429
        return response
    response = page(request)
    form = getattr(response, "context_data", {}).get("form")
    if form is not None and "old_password" in form.errors:
        login_limits.failed(tried)
    else:
        login_limits.confirmed(tried)
    if response.status_code == 302:  # the password is another one, and so is the key of this session
        with transaction.atomic():
            end_other_sessions(request)
            note_session(request, request.user, address=client_address(request))
    return response


def admin_door(request: HttpRequest) -> HttpResponse:
    """The admin sends here whoever may not enter: to sign in, or, when signed in already, to be told so."""
    if request.user.is_authenticated:
        if admin.site.has_permission(request):
            return redirect("admin:index")
        raise PermissionDenied("the admin is for staff and for roles beyond a team")
    return redirect(f"{reverse('login')}?{request.META['QUERY_STRING']}")
