"""A Content-Type that cannot be read is refused before anything is made of it: once it ended in an error of Django's own."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.wsgi import get_wsgi_application

from pkiportal.web.content_types import ReadableTypes
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
FORM = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n'


def call(method: str, path: str, content_type: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Through the application that gunicorn calls, without a client that would make the request anew."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "next=%C3%BC",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": content_type,
    }
    seen: list[Any] = []
    content = b"".join(ReadableTypes(get_wsgi_application())(environ, lambda status, headers: seen.extend((status, headers))))
    return int(seen[0].split()[0]), dict(seen[1]), content


@pytest.mark.parametrize(
    "content_type",
    [
        *(f"text/plain; charset={codec}" for codec in ("hex", "base64", "rot13", "idna", "punycode", "utf-16", "undefined", "a\x00b")),
        "application/x-www-form-urlencoded; charset*=bogus''x",
        "multipart/form-data; boundary*=bogus''b",
        'multipart/form-data; boundary=b; CHARSET="Hex"',
    ],
)
def test_what_cannot_be_read_is_no_fault_of_ours(portal: Portal, content_type: str) -> None:
    for method, path in (("GET", "/login/"), ("POST", "/login/"), ("POST", "/api/v1/requests/words"), ("GET", "/nowhere")):
        status, headers, content = call(method, path, content_type, FORM)
        assert status == 415, (method, path, content[:200])
        assert headers["X-Content-Type-Options"] == "nosniff"
        if path.startswith("/api/"):
            assert headers["Content-Type"] == "application/problem+json"
            assert json.loads(content)["field"] == "Content-Type"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "nonsense",
        "text/plain; charset=UTF-8",
        'text/plain; charset="utf-8"',
        "multipart/form-data",
        "a/b; c=d; =e; f",
        "multipart/form-data; boundary=b",
    ],
)
def test_what_can_be_read_or_says_nothing_is_handed_on(portal: Portal, content_type: str) -> None:
    assert call("GET", "/login/", content_type)[0] == 200
    assert call("POST", "/login/", content_type, FORM)[0] in (400, 403)
