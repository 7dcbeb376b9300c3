"""Pages and problem documents for what goes wrong outside a view; named in `pkiportal.urls`.

Django calls these for an exception in a middleware, an address that is none, or an error of another
page of this module. They read no session and no table, for the database may be what is away; only the pages for a
person who may not do something do.
"""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.log import log_response
from django.views import defaults

from certs.api.http.failures import RETRY_AFTER, failure_of, log_failure
from certs.api.http.problems import failure_problem, not_found_problem, problem
from certs.views.kept_forms import form_of, is_from_here, keep_for_sign_in


def failure_page(request: HttpRequest, exc: BaseException) -> HttpResponse:
    """Return the page, or under /api/ the problem document, for an unforeseen exception; logs it once."""
    if _is_api(request):
        return failure_problem(request, exc)
    failure = failure_of(exc, request)
    response = HttpResponse(render_to_string(f"{failure.status}.html", {"failure": failure}), status=failure.status)
    response["Cache-Control"] = "no-store"
    if failure.status == 503:
        response["Retry-After"] = RETRY_AFTER
    log_failure(failure, exc, request, response)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Serve Django's handler400."""
    if _is_api(request):
        return problem(400, "malformed", "The request could not be read.")
    return defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Serve Django's handler403."""
    if _is_api(request):
        return problem(403, "unauthorized", "This is not permitted.")
    return defaults.permission_denied(request, exception)


def too_old(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: the page's token is no longer the browser's.

    A form that a page of this portal sent is offered for sending again. It goes through the
    sign-in first where nobody is signed in.
    """
    foreign = not is_from_here(request)
    if not foreign and not request.user.is_authenticated and request.path != reverse("login") and keep_for_sign_in(request):
        return redirect(f"{reverse('login')}?{urlencode({'next': reverse('send-again')})}")
    context = {"foreign": foreign, "kept": None if foreign else form_of(request)}
    response = render(request, "403_csrf.html", context, status=403)
    log_response("Forbidden (%s): %s", reason, request.path[:200], response=response, request=request, level="warning")
    return response


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Serve Django's handler404."""
    return not_found_problem() if _is_api(request) else defaults.page_not_found(request, exception)


def no_address(_request: HttpRequest) -> HttpResponse:
    """Return the response of `/api/v1`, which would otherwise be redirected to the same with a slash."""
    return not_found_problem()


def server_error(request: HttpRequest) -> HttpResponse:
    """Serve Django's handler500, called while the exception is handled."""
    exc = sys.exc_info()[1]
    return failure_page(request, exc or RuntimeError("an error without an exception"))


def _is_api(request: HttpRequest) -> bool:
    return request.path_info == "/api" or request.path_info.startswith("/api/")
