"""What gunicorn itself can do: a WSGI callable that reads the body and answers with as many octets as an OCSP response has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BODY = bytes(800)
HEADERS = [("Content-Type", "application/ocsp-response"), ("Content-Length", str(len(BODY)))]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/healthz" and environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", HEADERS)
    return [BODY]
