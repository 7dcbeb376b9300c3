"""What no address, query or form may hold, and how large nothing may be."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import unquote

from csp.constants import HEADER
from csp.utils import build_policy
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from certs.access.sessions import user_of_session
from certs.access.sign_in.required_factors import must_add_factor_now
from certs.api.http.failures import is_outage
from certs.api.http.problems import problem, too_large_problem
from pkiportal.web.error_pages import failure_page

AROUND_A_FILE = 1024 * 1024  # other fields of its form, and what multipart adds
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class OnePolicy(MiddlewareMixin):
    """Headers of every response, also of the middlewares behind it, unless a view sets them.

    The settings' Content-Security-Policy, which is the same for all (no page has a nonce); no guessing of types;
    and no copy in any cache. HEAD has no content (RFC 9110 9.3.2); a server that drops it logs a line for each.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault(HEADER, _policy())
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        if request.META["REQUEST_METHOD"] == "HEAD" and isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
            response.content = b""
        return response


@cache
def _policy() -> str:
    return build_policy()


class _ForPages(MiddlewareMixin):
    """The API knows bearer tokens and nothing of browsers: no session, no user, no messages."""

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request) if request.path_info.startswith("/api/") else super().__call__(request)


class PageSessions(_ForPages, SessionMiddleware):
    pass


class PageUsers(_ForPages, AuthenticationMiddleware):
    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.user = SimpleLazyObject(  # type: ignore[assignment] # as Django does it
            lambda: user_of_session(request, get_user(request))
        )


class PageMessages(_ForPages, MessageMiddleware):
    pass


class RequireSecondFactor(MiddlewareMixin):
    """Lead a person whose role requires a second factor, and who has none, to the page that adds one.

    Everything else waits: the portal's pages and the admin's. Bearer tokens of the API are no sessions.
    """

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Without such roles in the settings, a page costs no query here."""
        if not settings.PKI_SECOND_FACTOR_ROLES or request.path_info.startswith("/api/"):
            return None
        match = request.resolver_match
        if match is None or match.view_name in _WITHOUT_SECOND_FACTOR or not request.user.is_authenticated:
            return None
        if not must_add_factor_now(request.user):
            return None
        following = reverse("mfa_index")
        if request.headers.get("HX-Request"):
            return HttpResponse(headers={"HX-Redirect": following})
        return redirect(following)


_WITHOUT_SECOND_FACTOR = {
    *("login", "account_login", "logout", "mfa_authenticate", "mfa_login_webauthn", "sign-in-anew"),
    *("password-forgotten", "password-reset", "openid_connect_login", "openid_connect_callback", "openid_connect_ended"),
    *("account_reauthenticate", "mfa_reauthenticate", "mfa_reauthenticate_webauthn"),
    *("mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "mfa_view_recovery_codes"),
}


class ApiMethods:
    """HEAD, OPTIONS and unknown methods under /api/, the same at every address."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/api/"):
            return self.get_response(request)
        head = request.method == "HEAD"
        if head:
            request.method = "GET"  # request.META keeps HEAD: a look at the headers is not recorded
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            response = self._not_allowed(request, response["Allow"].split(", "))
        return self._without_content(response) if head else response

    def _not_allowed(self, request: HttpRequest, methods: list[str]) -> HttpResponse:
        allowed = {*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])}
        if request.method == "OPTIONS":
            response = HttpResponse(status=204)
            del response["Content-Type"]
        else:
            detail = f"This address does not take {str(request.method)[:20]}."
            response = problem(405, "method_not_allowed", detail, next_step="See the Allow header.")
        response["Allow"] = ", ".join(sorted(allowed))
        return response

    def _without_content(self, response: HttpResponseBase) -> HttpResponse:
        """Return the same status and headers (RFC 9110 9.3.2)."""
        headers = dict(response.items())
        if isinstance(response, HttpResponse):
            headers.setdefault("Content-Length", str(len(response.content)))
        response.close()
        return HttpResponse(status=response.status_code, headers=headers)


class Outages:
    """A page whose view meets an outage is a plain 503 page, without a traceback in the log."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exc: Exception) -> HttpResponse | None:
        return failure_page(request, exc) if is_outage(exc) else None


class RefuseNul:
    """A NUL character is no text: PostgreSQL refuses it, so it is refused here, before it becomes a server error deep inside."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if self._has_nul(request):
            raise BadRequest("A NUL character was sent.")
        return self.get_response(request)

    def _has_nul(self, request: HttpRequest) -> bool:
        if "\x00" in request.path or "\x00" in unquote(request.META.get("QUERY_STRING", "")):
            return True
        # A quoted cookie may have one written as \000 (RFC 2109): the key of a session is looked up as it comes.
        if any("\x00" in value for value in request.COOKIES.values()):
            return True
        if request.path_info.startswith("/api/"):  # the API's own types check each field
            return False
        if request.method == "POST" and request.content_type in _FORMS:
            return any("\x00" in name or any("\x00" in value for value in values) for name, values in request.POST.lists())
        return False


class RefuseHuge:
    """A body larger than the largest upload is refused by its announced length, before anybody has signed in and before a byte of
    it is put on disk. (`ChunkedBodies` gives a body without a length its length.)
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = str(request.META.get("CONTENT_LENGTH") or "0")
        most: int = settings.PKI_BULK_MAX_BYTES
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise BadRequest("Content-Length is not a number of octets (RFC 9110 8.6)")
        if int(length) <= most + AROUND_A_FILE:
            return self.get_response(request)
        detail = f"The request is larger than {most // 1024 // 1024} MB, the most that the portal reads."
        if request.path.startswith("/api/"):
            return too_large_problem(detail)
        return render(request, "413.html", {"detail": detail}, status=413)
