"""Headers that every answer has, and the forgery check of every form: walked through the addresses that Django knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLPattern, URLResolver

from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def addresses() -> list[str]:
    """One address for each route, with 1 for each of its parameters."""
    found = {re.sub(r"<[^>]*>|\(\?P.*\)", "1", route).replace("$", "") for route in _routes(get_resolver(), "/")}
    return sorted(found - {"/logout/", "/admin/logout/"})


def _routes(resolver: URLResolver, before: str) -> Iterator[str]:
    for one in resolver.url_patterns:
        route = before + str(one.pattern).removeprefix("^")
        if isinstance(one, URLPattern):
            yield route
        else:
            yield from _routes(one, route)


MACHINES = ["/healthz", "/readyz", "/metrics", "/nowhere", "/api/nowhere", "/static/nowhere", "/pki/nowhere"]


def assert_headers(response: Any, what: str) -> None:
    headers = response.headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], what
    assert headers["X-Content-Type-Options"] == "nosniff", what
    if not what.startswith("/pki/ca/"):  # a CA's certificate is public
        assert re.search("no-store|private", headers["Cache-Control"]), what


def test_every_answer_is_guarded_and_kept_by_no_cache(portal: Portal) -> None:
    get_user_model().objects.create_superuser("root", "root@example.com", PASSWORD)
    signed_in = Client(raise_request_exception=False)
    assert signed_in.login(username="root", password=PASSWORD)
    for address in [*addresses(), *MACHINES]:
        for client in (signed_in, Client()):
            assert_headers(client.get(address), address)
    assert len(addresses()) > 250


@pytest.mark.parametrize(("host", "serve", "status"), [("evil.example", "all", 400), ("testserver", "status", 404)])
def test_refusals_before_any_view_have_them_too(host: str, serve: str, status: int, settings: Any) -> None:
    settings.PKI_SERVE = serve
    settings.SECURE_SSL_REDIRECT = True  # asks for the host before anything else does
    response = Client().get("/login/", headers={"Host": host})
    assert response.status_code == status
    assert_headers(response, "/login/")


def test_no_form_is_taken_from_another_site(portal: Portal) -> None:
    """Pages refuse it for its missing token (403); the API reads no cookie (401).

    Neither does the address at which the identity provider ends sessions: without a provider it is not there.
    """
    get_user_model().objects.create_superuser("root", "root@example.com", PASSWORD)
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    assert client.login(username="root", password=PASSWORD)
    statuses = {address: client.post(address, {"a": "b"}).status_code for address in addresses()}
    assert statuses.pop(reverse("openid_connect_ended")) == 404
    pages = {status for address, status in statuses.items() if not address.startswith("/api/")}
    programs = {status for address, status in statuses.items() if address.startswith("/api/")}
    assert pages <= {403, 405}, statuses
    assert programs <= {401, 403, 404, 405}, statuses


@pytest.mark.parametrize("path", ["/login/", "/healthz", "/api/v1/openapi.json"])
def test_head_is_get_without_the_content(path: str) -> None:
    head, get = Client().head(path), Client().get(path)
    assert (head.status_code, head.content, head["Content-Type"]) == (200, b"", get["Content-Type"])
    assert int(head["Content-Length"]) == len(get.content)


def test_options_of_the_api_has_no_content_type() -> None:
    """Django's default said HTML."""
    response = Client().options("/api/v1/requests")
    assert (response.status_code, response.headers.get("Content-Type")) == (204, None)


@pytest.mark.parametrize("cookie", ['sessionid="abcdefgh\\000"', 'csrftoken="\\000"', 'pki_device="\\000"', 'other="a\\000b"'])
@pytest.mark.parametrize("path", ["/", "/login/", "/certificates/"])
def test_a_cookie_with_a_nul_is_a_broken_request(portal: Portal, cookie: str, path: str) -> None:
    """A quoted cookie writes a NUL in octal; the session behind it was looked up in PostgreSQL, which refuses one."""
    client = Client(raise_request_exception=False)
    for response in (client.get(path, headers={"Cookie": cookie}), client.post(path, headers={"Cookie": cookie})):
        assert response.status_code == 400


@pytest.mark.parametrize("address", ["http://[", "http://]/", "//[::1", "", "x" * 5000, "javascript:alert(1)"])
def test_a_part_of_a_page_leads_to_the_sign_in_whatever_the_browser_says_of_its_page(portal: Portal, address: str) -> None:
    response = Client().get("/certificates/", headers={"HX-Request": "true", "HX-Current-URL": address})
    assert response.status_code == 200
    assert response["HX-Redirect"].startswith("/login/")
