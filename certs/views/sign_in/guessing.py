"""Counts of wrong tries around whatever a person shows: password, code or passkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from certs.access import login_limits
from certs.access.login_limits import PLACE, Attempt, network_of
from certs.access.rates import Limit, use
from certs.views.client_ip import client_address

LOCKED = "locked"
TOO_MANY = (
    "Too many wrong tries. Nothing is checked from here for this account now. "
    "Wait 15 minutes, use a device on which you have signed in before, or ask an administrator."
)
WAIT_SECONDS = int(PLACE.window.total_seconds())
MOST_NEW_SESSIONS = 300  # of one address, which an office may share


@contextmanager
def counted(tried: Attempt | None) -> Iterator[None]:
    """Check something that could be guessed. The block raises ValidationError when it is wrong.

    Raises ValidationError with the code LOCKED, without running into the check, when a limit is reached.
    """
    if tried is None:
        raise ValidationError(TOO_MANY, code=LOCKED)
    try:
        yield
    except ValidationError:
        login_limits.failed(tried)
        raise
    login_limits.confirmed(tried)


def password_try(request: HttpRequest, user: Any) -> Attempt | None:
    """Count a try at the password of an account."""
    return login_limits.attempt(user.get_username(), client_address(request), device=device_of(request))


def code_try(request: HttpRequest, user: Any) -> Attempt | None:
    """Count a try at a second factor of an account."""
    return login_limits.attempt_code(user.get_username(), client_address(request), device=device_of(request))


def anonymous_try(request: HttpRequest) -> Attempt | None:
    """Count a try that names no account."""
    return login_limits.attempt_from(client_address(request))


def count_new_session(request: HttpRequest) -> None:
    """Count what makes a session for a person who is not signed in: each is a row. Raises TooMany."""
    limit = Limit("anonymous-session", network_of(client_address(request)), MOST_NEW_SESSIONS, PLACE.window)
    use([limit], message="Too many sign-ins were begun from your address.")


def device_of(request: HttpRequest) -> str:
    """Return the device cookie of an earlier sign-in."""
    return request.COOKIES.get(login_limits.DEVICE_COOKIE, "")


def with_status(view: Callable[..., Any]) -> Callable[..., HttpResponseBase]:
    """Give the page of a form that was not accepted the status 422, or 429 where a limit is reached."""

    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = view(request, *args, **kwargs)
        if request.method != "POST" or response.status_code != 200:
            return response
        return refused_form(response)

    return wrapped


def refused_form(response: Any) -> HttpResponse:
    """Return the response with the status that the errors of its forms ask for."""
    context = response.context_data or {}
    forms = [context.get(name) for name in ("form", "webauthn_form")]
    errors = [e for form in forms if form is not None and form.is_bound for e in form.errors.as_data().values()]
    locked = any(error.code == LOCKED for field in errors for error in field)
    response.status_code = 429 if locked else 422
    if locked:
        response["Retry-After"] = str(WAIT_SECONDS)
    return response  # type: ignore[no-any-return]
