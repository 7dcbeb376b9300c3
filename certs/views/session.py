"""Signing in and out: wrong passwords are counted, and every attempt is in the audit log."""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import AuthenticationForm, UsernameField
from django.contrib.auth.views import LoginView
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from certs.access.permissions import Permission, holds
from certs.inventory import open_alerts
from certs.views.client_address import client_address

TRIES, LOCK_SECONDS = 5, 15 * 60


class SignIn(LoginView):
    """Locked for 15 minutes after five wrong passwords for the same user from the same address: an office behind one address
    does not lock itself out, and a list of passwords gets nowhere.
    """

    template_name = "registration/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if cache.get(self._key(), 0) >= TRIES:
            _note(EventType.LOGIN_LOCKED, self._name())
            form = self.get_form()
            form.add_error(None, "Too many wrong passwords. Wait 15 minutes, or ask an administrator.")
            return self.render_to_response(self.get_context_data(form=form), status=429)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        cache.delete(self._key())
        _note(EventType.LOGIN_SUCCEEDED, form.get_user().get_username())
        return super().form_valid(form)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        if not cache.add(self._key(), 1, LOCK_SECONDS):
            try:
                cache.incr(self._key())
            except ValueError:  # it ran out between the two
                cache.set(self._key(), 1, LOCK_SECONDS)
        _note(EventType.LOGIN_FAILED, self._name())
        response = super().form_invalid(form)
        response.status_code = 422
        return response

    def _name(self) -> str:
        """As the form reads it: spaces and wide letters make no other user, so they must not make another counter."""
        return str(UsernameField(max_length=150).to_python(self.request.POST.get("username", "")))

    def _key(self) -> str:
        return "login:" + hashlib.sha256(f"{self._name()}|{client_address(self.request)}".encode()).hexdigest()


def admin_door(request: HttpRequest) -> HttpResponse:
    """The admin sends here whoever may not enter: to sign in, or, when signed in already, to be told so."""
    if request.user.is_authenticated:
        if request.user.is_staff:
            return redirect("admin:index")
        raise PermissionDenied("the admin is for staff")
    return redirect(f"{reverse('login')}?{request.META['QUERY_STRING']}")


@transaction.atomic
def _note(event: EventType, name: str) -> None:
    """What was typed as a name may be a password in the wrong field: an unknown one is kept as a hash only."""
    known = get_user_model().objects.filter(username=name).exists()
    shown = name if known else "unknown-" + hashlib.sha256(name.encode()).hexdigest()[:12]
    record(event, subject=f"user:{shown}"[:200], actor=Actor("user", shown[:150]), at=database_now(), data={})


def navigation(request: HttpRequest) -> dict[str, Any]:
    """For every page: whether alerts are this user's business, and how many are open."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not holds(user, Permission.SEE_EVERY_TEAM):
        return {"may_see_alerts": False, "alert_count": 0}
    return {"may_see_alerts": True, "alert_count": open_alerts().count()}
