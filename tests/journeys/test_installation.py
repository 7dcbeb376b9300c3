"""Check that it is live, the trust page, the account and pages for faults, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

from certs.models import Certificate
from tests.certs.installation import servers
from tests.certs.installation.test_places import fullchain
from tests.certs.life import brought, issued
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


@pytest.fixture
def key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def certificate(portal: Portal, key: Any, settings: Any) -> Certificate:
    settings.PKI_LIVE_NETWORKS = [ip_network("127.0.0.0/8")]
    return issued(brought("shop.example.com", key=key), portal.requester())


def test_server_is_checked_and_checked_again_after_its_reload(visit: Visit, certificate: Certificate, key: Any) -> None:
    switch = servers.Switch(*servers.stranger("shop.example.com"))
    alice = visit()
    alice.open(f"/certificates/{certificate.cert_id}/install/")
    with servers.listening(switch) as port:
        alice.page.get_by_label("Server", exact=True).fill(f"127.0.0.1:{port}")
        alice.page.get_by_role("button", name="Check", exact=True).click()
        expect(alice.page.get_by_text("serves a certificate of another CA")).to_be_visible(timeout=10_000)
        assert alice.axe() == []
        switch.reload(fullchain(certificate), key)
        alice.page.get_by_role("button", name="Check again").click()
        expect(alice.page.get_by_text("serves this certificate, with its whole chain.")).to_be_visible(timeout=10_000)
    assert alice.axe() == []


def test_page_of_the_request_follows_to_the_padlock_without_being_loaded_again(visit: Visit, certificate: Certificate, key: Any) -> None:
    alice = visit()
    alice.open(f"/requests/{certificate.request.public_id}/")
    expect(alice.page.get_by_text("Now put it on your server")).to_be_visible()
    with servers.listening(servers.Switch(fullchain(certificate), key)) as port:
        alice.page.get_by_label("Server", exact=True).fill(f"127.0.0.1:{port}")
        alice.page.get_by_role("button", name="Check", exact=True).click()
        expect(alice.page.get_by_text(f"Live: 127.0.0.1:{port} serves this certificate.")).to_be_visible(timeout=10_000)
    expect(alice.page.get_by_text("Now put it on your server")).to_have_count(0)
    expect(alice.page.locator("#steps li.done")).to_have_count(6)
    assert alice.axe() == []


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)], ids=["phone", "dark"])
def test_pages_are_sound_on_phones_and_in_the_dark(visit: Visit, certificate: Certificate, portal: Portal, width: int, dark: bool) -> None:
    portal.token()
    alice = visit(width=width, dark=dark)
    faults, widths = {}, {}
    for path in ("/trust/", "/account/", "/tokens/", "/guide/api/", "/nowhere/", f"/certificates/{certificate.cert_id}/install/"):
        alice.open(path)
        faults[path], widths[path] = alice.axe(), alice.width()
    assert {path: found for path, found in faults.items() if found} == {}
    assert {path: found for path, found in widths.items() if found > width} == {}


def test_form_is_still_there_after_the_session_was_lost(visit: Visit, portal: Portal) -> None:
    alice = visit()
    alice.open("/tokens/")
    alice.page.get_by_label("Name").fill("typed with care")
    alice.page.context.clear_cookies(name="sessionid")
    alice.follow(alice.page.get_by_role("button", name="Make the token"))
    expect(alice.page.get_by_text("You were signed out.")).to_be_visible()
    assert alice.axe() == []
    alice.page.get_by_label("User name").fill("alice")
    alice.page.get_by_label("Password").fill("correct horse battery")
    alice.follow(alice.page.get_by_role("button", name="Sign in"))
    expect(alice.page.get_by_role("definition").filter(has_text="typed with care")).to_be_visible()
    assert alice.axe() == []
    alice.follow(alice.page.get_by_role("button", name="Send it now"))
    expect(alice.page.get_by_text("Copy the token typed with care now.")).to_be_visible()


def test_page_that_is_too_old_is_sent_again(visit: Visit, portal: Portal) -> None:
    alice = visit()
    alice.open("/tokens/")
    alice.page.get_by_label("Name").fill("typed with care")
    alice.page.context.clear_cookies(name="csrftoken")
    alice.follow(alice.page.get_by_role("button", name="Make the token"))
    expect(alice.page.get_by_role("heading", name="This page is too old to send")).to_be_visible()
    assert alice.axe() == []
    alice.follow(alice.page.get_by_role("button", name="Send again"))
    expect(alice.page.get_by_text("Copy the token typed with care now.")).to_be_visible()
