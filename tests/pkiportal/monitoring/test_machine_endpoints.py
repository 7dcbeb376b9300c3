"""Machine endpoints answer an orchestrator and monitoring as these ask; each service answers its own paths."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.core.exceptions import SuspiciousOperation
from django.test import Client

from pkiportal.logs import CAUSED_FROM_OUTSIDE, OneLineAMinute

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
HOSTS = ("10.1.2.3:8000", "web", "web:8000", "127.0.0.1:8000", "pki.example.com", "not a host", "[", "ä")


@pytest.fixture(autouse=True)
def _production(settings: Any) -> None:
    """The rules of production that come after the machine endpoints."""
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["pki.example.com"], True
    settings.PKI_METRICS_TOKEN, settings.PKI_SERVE = "t" * 32, "portal"


@pytest.mark.parametrize("host", HOSTS)
def test_any_host_header_is_answered_over_plain_http(host: str) -> None:
    """M1, M2: a probe by address, by service name, or without a name."""
    headers = {"Host": host, "Authorization": f"Bearer {'t' * 32}"}
    statuses = [Client().get(path, headers=headers).status_code for path in ("/healthz", "/readyz", "/metrics")]
    assert statuses == [200, 200, 200]


def test_request_without_a_host_header_is_answered() -> None:
    """M1: HTTP/1.0 probes send none."""
    assert Client(SERVER_NAME="", HTTP_HOST="").get("/healthz").status_code == 200


def test_everything_else_still_needs_the_right_host_and_https() -> None:
    """M1: only the three endpoints are exempt, by their exact path."""
    assert Client().get("/login/", headers={"Host": "10.1.2.3"}).status_code == 400
    assert Client().get("/healthz/", headers={"Host": "10.1.2.3"}).status_code == 400
    assert Client().get("/login/", headers={"Host": "pki.example.com"}).status_code == 301


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_other_methods_are_refused_with_allow(path: str) -> None:
    answer = Client().post(path, headers={"Host": "10.1.2.3"})
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")


OWN = {
    "ca": ["/api/v1/certificates/x"],
    "status": ["/pki/ca/nobody.crt"],
    "portal": ["/login/", "/admin/login/", "/api/v1/certificates/x", "/api/v1/ca/chain"],
}
PATHS = ["/", "/login/", "/admin/", "/admin/login/", "/api/v1/certificates/x", "/api/v1/ca/chain", "/api/v1/docs", "/static/x.css"]


@pytest.mark.parametrize("serve", ["ca", "status"])
def test_service_with_a_key_login_answers_only_its_own_paths(serve: str, settings: Any) -> None:
    """S4: no page, no sign-in, no admin in the processes that may use a CA's or a responder's key."""
    settings.PKI_SERVE, settings.SECURE_SSL_REDIRECT, settings.ALLOWED_HOSTS = serve, False, ["*"]
    foreign = [path for path in [*PATHS, "/pki/ca/nobody.crt"] if path not in OWN[serve]]
    for path in foreign:
        for method in ("get", "post"):
            answer = getattr(Client(), method)(path)
            assert (answer.status_code, b"This address is served by another" in answer.content) == (404, True), path
            kind = "application/problem+json" if path.startswith("/api/") else "text/plain; charset=utf-8"
            assert answer["Content-Type"] == kind
    for path in OWN[serve]:
        assert b"This address" not in Client().get(path).content
    assert Client().get("/healthz").status_code == 200


def test_portal_service_leaves_status_information_to_its_own_service(settings: Any) -> None:
    settings.PKI_SERVE, settings.SECURE_SSL_REDIRECT, settings.ALLOWED_HOSTS = "portal", False, ["*"]
    assert Client().get("/pki/ca/nobody.crt").content.startswith(b"This address")
    assert [Client().get(path).content.startswith(b"This address") for path in OWN["portal"]] == [False] * 4


def test_wrong_hosts_of_a_scanner_are_one_line_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """M8"""
    quiet = OneLineAMinute(seconds=3600)
    logger = logging.getLogger("django.security.DisallowedHost")
    own = list(logger.filters)
    # Logging that is set up again, as a test of settings does, adds its filter once more.
    assert {type(one) for one in own} == {OneLineAMinute}, "the shipped logging settings have it"
    logger.filters = [quiet]
    try:
        for number in range(20):
            assert Client().get("/", headers={"Host": f"scan{number}.example"}).status_code == 400
    finally:
        logger.filters = own
    (record,) = [one for one in caplog.records if one.name.startswith("django")]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "scan0.example" in record.getMessage()


def test_whatever_django_calls_suspicious_is_one_line_a_minute() -> None:
    """M8: Django logs each of these with a traceback, and anybody can cause them."""

    def names(kind: type[Exception]) -> Iterator[str]:
        for one in kind.__subclasses__():
            yield f"django.security.{one.__name__}"
            yield from names(one)

    admin.site.get_urls()  # loads the admin's
    assert set(names(SuspiciousOperation)) - {"django.security.InvalidSessionKey"} <= set(CAUSED_FROM_OUTSIDE)
    assert "django.security.csrf" in CAUSED_FROM_OUTSIDE


def test_line_says_how_many_were_left_out() -> None:
    """M8: the number of wrong hosts is not lost."""
    quiet = OneLineAMinute(seconds=0.05)
    make = logging.getLogger("x").makeRecord
    assert [quiet.filter(make("x", logging.ERROR, "f", 1, "wrong", (), None)) for _ in range(3)] == [True, False, False]
    time.sleep(0.06)
    record = make("x", logging.ERROR, "f", 1, "wrong", (), None)
    assert quiet.filter(record)
    assert record.getMessage() == "wrong (2 more were left out before this)"
