"""What no address, query or form may hold, and how large nothing may be."""

from __future__ import annotations

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
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from certs.access.sessions import user_of_session

_AROUND_A_FILE = 1024 * 1024  # other fields of its form, and what multipart adds
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class OnePolicy(MiddlewareMixin):
    """The settings' Content-Security-Policy on every answer. It is the same for all, so it is put together once; no page has a nonce."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault(HEADER, _policy())
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
        if request.method == "POST" and request.content_type in _FORMS:
            return any("\x00" in name or any("\x00" in value for value in values) for name, values in request.POST.lists())
        return False


class RefuseHuge:
    """A body larger than the largest upload is refused by its announced length, before anybody has signed in and before a byte of
    it is put on disk. (A body without a length is read as empty.)
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        length = str(request.META.get("CONTENT_LENGTH") or "0")
        most: int = settings.PKI_BULK_MAX_BYTES
        if not length.isdecimal() or int(length) <= most + _AROUND_A_FILE:
            return self.get_response(request)
        detail = f"The request is larger than {most // 1024 // 1024} MB, the most that the portal reads."
        if request.path.startswith("/api/"):
            document = {"type": "urn:pki-portal:error:too_large", "title": "too_large", "status": 413, "detail": detail}
            return JsonResponse(document, status=413, content_type="application/problem+json")
        return render(request, "413.html", {"detail": detail}, status=413)
