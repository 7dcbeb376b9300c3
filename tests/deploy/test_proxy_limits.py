"""The proxy as it is shipped limits every address at which somebody could guess, and no other."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.urls import URLPattern, get_resolver, reverse

from certs.views.sign_in.urls import urlpatterns
from tests.faults.proxy import proxied

HOST = "127.0.0.1"
# Pages of the sign-in at which nothing can be guessed: signing out, and what the provider itself sends.
NOTHING_TO_GUESS = {"logout", "openid_connect_ended"}
ELSEWHERE = {"account", "invitation"}
ADMIN = ["/admin/login/", "/admin/password_change/"]
FREE = ["/", "/new/", "/logout/", "/requests/", "/requests/req-1/cancel/", "/accounts/", "/people/1/remove/"]


def address(name: str) -> str:
    pattern = next(one for one in _patterns() if one.name == name)
    given = {"pk": 1, "uidb64": "MQ", "token": "t"}
    return reverse(name, kwargs={key: given[key] for key in pattern.pattern.converters})


def _patterns() -> Iterator[URLPattern]:
    for one in get_resolver().url_patterns:
        if isinstance(one, URLPattern):
            yield one
        else:
            yield from (inner for inner in one.url_patterns if isinstance(inner, URLPattern))


class Upstream(BaseHTTPRequestHandler):
    """Answers everything with 200."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with ThreadingHTTPServer((HOST, 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with proxied(tmp_path_factory.mktemp("proxy"), services=server.server_address[1], host=HOST) as (_, tls):
            yield tls
        server.shutdown()


def connected(port: int) -> closing[http.client.HTTPSConnection]:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return closing(http.client.HTTPSConnection(HOST, port, timeout=10, context=trusting))


def sent(connection: http.client.HTTPSConnection, path: str, method: str = "POST") -> tuple[int, str]:
    connection.request(method, path, b"x=1" if method == "POST" else None, {"Host": HOST})
    response = connection.getresponse()
    return response.status, response.read().decode()


def ask(port: int, path: str, method: str = "POST") -> tuple[int, str]:
    with connected(port) as connection:
        return sent(connection, path, method)


def until_refused(port: int, path: str, *, most: int = 500) -> list[tuple[int, str]]:
    """Ask on one connection, so that a slow machine still asks faster than the limit lets pass."""
    answers: list[tuple[int, str]] = []
    with connected(port) as connection:
        while len(answers) < most and (not answers or answers[-1][0] != 429):
            answers.append(sent(connection, path))
    return answers


def limited() -> list[str]:
    names = {str(one.name) for one in urlpatterns} - NOTHING_TO_GUESS | ELSEWHERE
    return sorted({address(name) for name in names}) + ADMIN


def test_every_address_that_takes_a_password_code_or_passkey_is_limited_together(port: int) -> None:
    answers = until_refused(port, "/login/")
    assert answers[0][0] == 200
    status, text = answers[-1]
    assert status == 429
    assert "Nothing was checked" in text
    # In 1.5 s one more request may pass, so a single one may.
    assert [path for path in limited() if all(ask(port, path)[0] != 429 for _ in range(3))] == []
    # Reading a page, and everything else, goes on.
    assert {path: ask(port, path, "GET")[0] for path in limited()} == dict.fromkeys(limited(), 200)
    others = [*FREE, *(address(name) for name in sorted(NOTHING_TO_GUESS))]
    assert {path: ask(port, path)[0] for path in others} == dict.fromkeys(others, 200)


def test_decisions_have_a_wider_limit_of_their_own(port: int) -> None:
    path = reverse("request-decide", args=["req-1"])
    answers = [status for status, _ in until_refused(port, path)]
    assert answers[:40] == [200] * 40
    assert answers[-1] == 429
