"""Passkeys and codes in a browser, with Chromium's virtual authenticator, and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from playwright.sync_api import Browser, Page, expect

from audit.models import AuditEvent
from certs.access.sessions import SHOWED_AT
from tests.certs.views.sign_in.factors import add_app, code
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)
Look = Callable[..., Visitor]


def plug_in_authenticator(page: Page, *, verifies_user: bool = True) -> None:
    """Give the browser an authenticator that confirms everything."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal" if verifies_user else "usb",
        "hasResidentKey": verifies_user,
        "hasUserVerification": verifies_user,
        "isUserVerified": verifies_user,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def add_passkey(visitor: Visitor, name: str) -> None:
    visitor.open("/account/security/passkey/")
    visitor.page.get_by_label("Name").fill(name)
    visitor.page.get_by_role("button", name="Add the passkey").click()
    visitor.page.wait_for_url("**/account/security/codes/")


def sign_out(visitor: Visitor) -> None:
    visitor.page.locator("details.menu summary").click()
    visitor.follow(visitor.page.get_by_role("button", name="Sign out"))


def methods() -> Any:
    return AuditEvent.objects.filter(event="login:succeeded").latest("id").data["methods"]


def test_a_passkey_is_added_and_signs_in_without_a_password(look: Look) -> None:
    alice = look()
    plug_in_authenticator(alice.page)
    alice.open("/account/security/")
    expect(alice.page.get_by_text("You have none yet.")).to_be_visible()
    add_passkey(alice, "Laptop of Alice")
    expect(alice.page.get_by_text("They are shown only now.")).to_be_visible()
    alice.follow(alice.page.get_by_role("link", name="I have kept them"))
    expect(alice.page.get_by_role("cell", name="Laptop of Alice", exact=True)).to_be_visible()
    sign_out(alice)
    alice.open("/login/?next=/requests/")
    alice.page.get_by_role("button", name="Use a passkey").click()
    alice.page.wait_for_url(alice.base + "/requests/")
    assert methods() == ["webauthn"]


def test_a_passkey_is_the_second_step_after_the_password(look: Look) -> None:
    alice = look()
    plug_in_authenticator(alice.page, verifies_user=False)
    add_passkey(alice, "Blue security key")
    sign_out(alice)
    alice.page.get_by_label("User name").fill("alice")
    alice.page.get_by_label("Password").fill(PASSWORD)
    alice.follow(alice.page.get_by_role("button", name="Sign in"))
    expect(alice.page.get_by_role("heading", name="Second step")).to_be_visible()
    alice.page.get_by_role("button", name="Use a passkey").click()
    alice.page.wait_for_url(alice.base + "/")
    assert methods() == ["password", "webauthn"]


def test_a_removed_passkey_signs_nobody_in(look: Look) -> None:
    alice = look()
    plug_in_authenticator(alice.page)
    add_passkey(alice, "Laptop")
    alice.open("/account/security/")
    alice.follow(alice.page.get_by_role("link", name="Remove Laptop"))
    alice.follow(alice.page.get_by_role("button", name="Remove the passkey"))
    expect(alice.page.get_by_text("Laptop is removed from your account. Your other sessions have ended.")).to_be_visible()
    sign_out(alice)
    alice.page.get_by_role("button", name="Use a passkey").click()
    expect(alice.page.get_by_text("This passkey was not accepted.")).to_be_visible()
    assert not Authenticator.objects.exists()


def test_a_passkey_shows_again_who_one_is_and_gets_another_name(look: Look, portal: Portal) -> None:
    alice = look()
    plug_in_authenticator(alice.page)
    add_passkey(alice, "Laptop")
    portal.alice.set_unusable_password()
    portal.alice.save(update_fields=["password"])
    sign_in_with_passkey(alice)
    forget_the_recent_sign_in()
    alice.open("/account/security/app/")
    expect(alice.page.get_by_role("heading", name="Show that it is you")).to_be_visible()
    alice.follow(alice.page.get_by_role("link", name="Use a passkey"))
    alice.page.get_by_role("button", name="Use a passkey").click()
    expect(alice.page.get_by_role("heading", name="Add an authenticator app")).to_be_visible()
    alice.open("/account/security/")
    alice.page.get_by_text("Rename").first.click()
    alice.page.get_by_label("New name").fill("Laptop in the office")
    alice.follow(alice.page.get_by_role("button", name="Save the name"))
    expect(alice.page.get_by_role("cell", name="Laptop in the office", exact=True)).to_be_visible()


def sign_in_with_passkey(visitor: Visitor) -> None:
    visitor.page.context.clear_cookies()
    visitor.open("/login/")
    visitor.page.get_by_role("button", name="Use a passkey").click()
    visitor.page.wait_for_url(visitor.base + "/")


def forget_the_recent_sign_in() -> None:
    for row in Session.objects.all():
        session = SessionStore(row.session_key)
        session.pop(SHOWED_AT, None)
        session.save()


def test_codes_of_an_app_work_without_javascript(portal: Portal, live_server: Any, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()

    def password_step() -> None:
        page.goto(live_server.url + "/login/")
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()

    password_step()
    page.goto(live_server.url + "/account/security/passkey/")
    expect(page.get_by_text("A passkey needs JavaScript")).to_be_visible()
    page.goto(live_server.url + "/account/security/app/")
    page.get_by_text("You cannot scan it?").click()
    seed = re.search(r"[A-Z2-7]{32}", page.locator("details code").inner_text())
    assert seed
    page.get_by_label("Code that the app shows").fill(code(seed=seed.group()))
    page.get_by_role("button", name="Add the app").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    recovery = page.locator(".recovery-codes code").first.inner_text()
    page.locator("details.menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    password_step()
    expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    page.get_by_label("Code of your app").fill(recovery)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(live_server.url + "/")
    context.close()


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 360)])
def test_pages_of_signing_in_have_no_accessibility_fault(look: Look, portal: Portal, dark: bool, width: int) -> None:
    alice = look(dark=dark, width=width)
    plug_in_authenticator(alice.page)
    faults: dict[str, Any] = {}

    def check(name: str) -> None:
        faults[name] = [*alice.axe(), *([f"{alice.width()} pixels wide"] if alice.width() > width else [])]

    add_passkey(alice, "A laptop with a long name of sixty characters in the office")
    check("recovery codes")
    factor = Authenticator.objects.get(type="webauthn").pk
    for path in ("", "app/", "passkey/", "codes/", "codes/new/", f"{factor}/remove/"):
        alice.open(f"/account/security/{path}")
        check(path)
    add_app(portal.alice)
    forget_the_recent_sign_in()
    for path in ("/login/again/", "/login/again/code/", "/login/again/passkey/", "/login/anew/"):
        alice.open(path)
        check(path)
    alice.page.context.clear_cookies()
    for path in ("/login/", "/login/forgotten/", "/login/forgotten/MQ/none/"):
        alice.open(path)
        check(path)
    alice.open("/login/")
    alice.page.get_by_label("User name").fill("alice")
    alice.page.get_by_label("Password").fill(PASSWORD)
    alice.follow(alice.page.get_by_role("button", name="Sign in"))
    check("second step")
    alice.page.get_by_label("Code of your app").fill("wrong")
    alice.follow(alice.page.get_by_role("button", name="Sign in"))
    check("wrong code")
    assert {name: found for name, found in faults.items() if found} == {}
