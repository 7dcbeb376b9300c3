"""Content types that cannot be read: refused before Django, which would fail over some of them outside any view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpResponse
from django.utils.http import parse_header_parameters

from certs.api.http.problems import problem
from pkiportal.web.chunked_bodies import Application, Environ

_UTF_8 = ("", "utf-8", "utf8", "us-ascii")
_REFUSED = "The Content-Type cannot be read, or names another charset than UTF-8."
_STEP = "Send the body in UTF-8, with a Content-Type as RFC 9110 8.3 has it."


class ReadableTypes:
    """A WSGI application that hands on what has a readable Content-Type, or none.

    Django decodes the query with the charset of the body, also with codecs of Python that are no
    charsets, and reads the header before any middleware.
    """

    def __init__(self, behind: Application) -> None:
        self._behind = behind

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if _is_readable(environ.get("CONTENT_TYPE", "")):
            return self._behind(environ, start_response)
        response = _refusal(environ.get("PATH_INFO", ""))
        response["Content-Length"] = str(len(response.content))
        response["Cache-Control"], response["X-Content-Type-Options"] = "no-store", "nosniff"
        start_response("415 Unsupported Media Type", list(response.items()))
        return [response.content]


def _is_readable(content_type: str) -> bool:
    try:
        _, parameters = parse_header_parameters(content_type)
    except ValueError:
        return False
    return parameters.get("charset", "").lower() in _UTF_8


def _refusal(path: str) -> HttpResponse:
    if path.startswith("/api/"):
        return problem(415, "malformed", _REFUSED, field="Content-Type", next_step=_STEP)
    return HttpResponse(f"{_REFUSED} {_STEP}\n", content_type="text/plain; charset=utf-8")
