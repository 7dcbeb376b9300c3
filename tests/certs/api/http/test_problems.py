"""Everything under /api/ that is no success is a problem document (RFC 9457); an outage is one line in the log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings as portal_settings
from django.db import InternalError, connection, transaction
from django.test import Client

from certs.api import requests
from certs.api.http.failures import is_outage
from certs.models import Issuer
from certs.status.ocsp.lookup import lookups
from pkiportal.logs import OneLineAMinute
from pkiportal.web.status_information import StatusInformation
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


class Caller:
    """A program with a token, which gets answers and never exceptions, as over HTTP."""

    def __init__(self, token: str) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, body: str = "", **headers: str) -> Any:
        sent = {**self.headers, **headers}
        return self.client.generic(method, path, body, "application/json", headers=sent)


@pytest.fixture
def call(portal: Portal) -> Caller:
    return Caller(portal.token())


def problem_of(response: Any) -> dict[str, Any]:
    assert response["Content-Type"] == "application/problem+json", response.content[:200]
    found: dict[str, Any] = json.loads(response.content)
    assert found["status"] == response.status_code
    assert found["type"].startswith("urn:pki-portal:error:")
    return found


NO_ADDRESSES = (
    "/api/v1/nothing",
    "/api/v1/certificates/ordered/",
    "/api/v1/requests/words/",
    "/api/v1/",
    "/api/v1",
    "/api/",
    "/api",
    "/api/v2/certificates",
    "/api/v1/certificates/none/%2e%2e",
    "/api/v1//certificates",
)


def test_unknown_addresses_are_problems(call: Caller) -> None:
    """O5: they were HTML pages."""
    for path in NO_ADDRESSES:
        for method in ("GET", "POST", "DELETE"):
            response = call(method, path)
            assert response.status_code in {404, 405}, path
            assert "next_step" in problem_of(response)
        head = call("HEAD", path)
        assert (head.content, head["Content-Type"]) == (b"", "application/problem+json")


def test_a_wrong_method_is_told_the_right_ones(call: Caller) -> None:
    for method, path, allowed in (
        ("GET", "/api/v1/requests/words", "OPTIONS, POST"),
        ("PUT", "/api/v1/certificates/ordered", "GET, HEAD, OPTIONS"),
        ("TRACE", "/api/v1/bulk/upload", "OPTIONS, POST"),
        ("BREW", "/api/v1/ca/chain", "GET, HEAD, OPTIONS"),
    ):
        response = call(method, path)
        assert problem_of(response)["status"] == 405
        assert response["Allow"] == allowed
        options = call("OPTIONS", path)
        assert (options.status_code, options["Allow"], options.content) == (204, allowed, b"")


def test_head_is_get_without_the_content(call: Caller) -> None:
    for path in ("/api/v1/ca/chain", "/api/v1/certificates/ordered", "/api/v1/openapi.json"):
        whole, head = call("GET", path), call("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head["Content-Type"] == whole["Content-Type"]
        assert int(head["Content-Length"]) == len(whole.content)


def test_answers_are_not_kept_by_caches(call: Caller) -> None:
    """S22: answers carried no Cache-Control."""
    for path in ("/api/v1/certificates/ordered", "/api/v1/nothing", "/api/v1/requests/words"):
        assert call("GET", path)["Cache-Control"] == "no-store"
    assert call("GET", "/api/v1/nothing", Authorization="")["Cache-Control"] == "no-store"


def test_a_body_that_is_too_large_is_413(call: Caller, settings: Any) -> None:
    settings.PKI_BULK_MAX_BYTES = 1024
    problem = problem_of(call("POST", "/api/v1/bulk", "x" * 2_000_000))
    assert (problem["status"], problem["type"]) == (413, "urn:pki-portal:error:too_large")


@contextmanager
def database_away() -> Iterator[None]:
    port = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = "1"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port


@contextmanager
def database_read_only() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        connection.close()


ORDER = '{"text": "issue certificate for api.example.com"}'
CALLS = [
    ("GET", "/api/v1/certificates/ordered", ""),
    ("GET", "/api/v1/bulk/bulk-1", ""),
    ("POST", "/api/v1/requests/words", ORDER),
    ("POST", "/api/v1/certificates/revoke", '{"serial_number": "0x1234"}'),
]


def test_a_database_that_is_away_is_503(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """F10, M5: each call was a 500 with a traceback in the log."""
    outage = logging.getLogger("certs.outage")
    for one in [one for one in outage.filters if isinstance(one, OneLineAMinute)]:
        one.__init__()  # type: ignore[misc] # no line of an earlier test counts
    with database_away():
        answers = [call(method, path, body) for method, path, body in CALLS for _ in range(2)]
    for response in answers:
        problem = problem_of(response)
        assert (problem["status"], problem["type"]) == (503, "urn:pki-portal:error:unavailable")
        assert response["Retry-After"] == "30"
        assert "next_step" in problem
    lines = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [(one.name, one.exc_info) for one in lines] == [("certs.outage", None)]


def test_a_read_only_database_is_503(call: Caller) -> None:
    with database_read_only():
        assert problem_of(call("POST", "/api/v1/requests/words", ORDER))["status"] == 503
        assert call("GET", "/api/v1/certificates/ordered").status_code == 200


def stand_still() -> None:
    """As a process that was stopped and continued within a transaction, for longer than the server allows."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = '20ms'")
        time.sleep(0.2)
        cursor.execute("SELECT 1")


def test_session_that_the_database_ended_while_the_process_stood_still_is_an_outage() -> None:
    with pytest.raises(InternalError) as ended:
        stand_still()
    connection.close()
    assert is_outage(ended.value)


def test_pages_say_that_the_portal_cannot_work_now(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(portal.carol)
    for path in ("/", "/certificates/", "/admin/", "/alerts/"):
        with database_away():
            response = client.get(path)
        assert (response.status_code, response["Retry-After"]) == (503, "30"), path
        assert b"The portal cannot work now" in response.content
    assert not [one for one in caplog.records if one.exc_info]


def test_nothing_is_said_to_be_unchanged_where_the_connection_may_have_been_lost_in_commit(portal: Portal, call: Caller) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(portal.carol)
    with database_away():
        page = client.post("/tokens/", {"name": "x"}).content.decode()
        looked = client.get("/tokens/").content.decode()
        sent, read = (problem_of(call(*one)) for one in (("POST", "/api/v1/requests/words", ORDER), ("GET", "/api/v1/certificates")))
    for text in (page, looked, str(sent), str(read)):
        assert "Nothing was changed" not in text
    for text in (page, str(sent)):
        assert "It is not known whether what you sent was done." in text
        assert "whether it was done before you send it again" in text
    for text in (looked, str(read)):
        assert "Try again in half a minute." in text
        assert "not known" not in text


def test_signing_in_without_a_database_is_503(portal: Portal) -> None:
    client = Client(raise_request_exception=False)
    with database_away():
        assert client.post("/login/", {"username": "alice", "password": "x"}).status_code == 503


def test_a_fault_of_ours_is_one_log_record_with_its_number(
    call: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(requests, "plan_words", broken)
    problem = problem_of(call("POST", "/api/v1/requests/words", ORDER))
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert problem["status"] == 500
    assert problem["error_id"] in record.getMessage()
    assert record.exc_info
    assert "ZeroDivisionError" not in json.dumps(problem)


def test_a_page_with_a_fault_of_ours_says_its_number(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("certs.views.inventory.listing.view_of", broken)
    client = Client(raise_request_exception=False)
    client.force_login(portal.alice)
    response = client.get("/certificates/")
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert response.status_code == 500
    assert record.getMessage().partition("error ")[2][:16] in response.content.decode()


def test_a_client_that_hangs_up_is_no_fault_of_ours(call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    class HungUp:
        def read(self, *_size: int) -> bytes:
            raise OSError("connection reset")

        readline = read

    environ: dict[str, Any] = {"wsgi.input": HungUp(), "CONTENT_LENGTH": "100"}
    response = call.client.generic(
        "POST",
        "/api/v1/requests/words",
        "",
        "application/json",
        headers=call.headers,
        **environ,
    )
    assert problem_of(response)["status"] == 400
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_status_information_without_a_database_is_one_line_too(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    slug = Issuer.objects.get(name=portal_settings.PKI_DEFAULT_CA).slug
    statuses: list[str] = []
    lookups.close()
    with database_away():
        for path, method in ((f"/pki/crl/{slug}.crl", "GET"), (f"/pki/ocsp/{slug}", "POST")):
            body = BytesIO(b"\x30\x00" * 20)
            environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "wsgi.input": body}
            StatusInformation(lambda *_: [])(environ | {"CONTENT_LENGTH": "40"}, lambda status, _headers: statuses.append(status))
    assert statuses == ["503 Service Unavailable", "200 OK"]
    assert not [one for one in caplog.records if one.exc_info]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/bulk", {"items": [{"name": "a.example.com", "validity_days": "90 days"}]}, "items.0.validity_days"),
        ("/requests", {"common_name": "a.example.com", "sans": [1]}, "sans.0"),
        ("/requests/words", {"txt": "certificate for a"}, "text"),
        ("/certificates/revoke", {"serial_number": "4A", "reason": "banana"}, "reason"),
    ],
)
def test_a_field_is_named_as_the_client_wrote_it_with_a_next_step(call: Caller, path: str, body: dict[str, Any], field: str) -> None:
    found = problem_of(call("POST", f"/api/v1{path}", json.dumps(body)))
    assert (found["status"], found["field"], found["errors"][0]["field"]) == (422, field, field)
    assert found["next_step"]


@pytest.mark.parametrize("length", ["abc", "-1", "+5", "9" * 5000])
def test_length_that_is_no_number_is_a_bad_request(call: Caller, length: str) -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": length}
    response = call.client.generic("POST", "/api/v1/requests/words", "{}", "application/json", headers=call.headers, **environ)
    assert problem_of(response)["status"] == 400
