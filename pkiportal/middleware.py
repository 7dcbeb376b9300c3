"""What no address, query or form may hold."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


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
