"""A browser in front of the live portal with a real worker behind it; console errors, CSP violations and foreign requests fail a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.cookies import Morsel
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import Client
from playwright.sync_api import Browser, Locator, Page

from tests.portal.fixtures import PASSWORD, Portal

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Of rules that are kept axe would otherwise describe each element, which costs as much as the rules.
# Without preload: it would write style sheets that import others into a document of its own,
# which has the page's CSP, and would be blocked.
RUN_AXE = """async tags => {
    const options = {runOnly: tags, preload: false, resultTypes: ["violations"]};
    const {violations} = await axe.run(document, options);
    return violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.html.slice(0, 120)}`));
}"""


def axe_faults(page: Page) -> list[str]:
    """Accessibility faults of a page as it is now. Run outside the page's CSP, as browser tools do."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found: list[str] = page.evaluate(RUN_AXE, AXE_TAGS)
    return found


class Visitor:
    """A signed-in person's browser window, and what went wrong in it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.complaints: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        # A refused page's own status (422, 404) is reported by Chromium as a failed load; it is the answer, not a fault. A
        # stylesheet or script that is not there is one.
        answer = "Failed to load resource" in message.text and "/static/" not in str(message.location.get("url"))
        # htmx reports a refresh that a chosen filter overtook as an error.
        overtaken = message.text.startswith(("htmx:afterRequest", "htmx:sendAbort"))
        if message.type == "error" and not answer and not overtaken:
            self.complaints.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.complaints.append(f"foreign request: {request.url}")

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)

    def ask(self, text: str) -> None:
        """Say it in the box of the first page, and go on to where it leads."""
        self.open("/new/")
        self.page.get_by_label("Or say it").fill(text)
        self.follow(self.page.get_by_role("button", name="Go on"))

    def plan(self, text: str) -> None:
        """Ask for a certificate whose key is made in the vault, up to its plan."""
        self.ask(f"{text}, key in the vault")
        self.follow(self.page.get_by_role("button", name="Show the plan"))

    def follow(self, target: Locator) -> None:
        """Click what opens another page, and return when that page is loaded.

        After a bare click a script may run in the old page or in a new one that has no element yet.
        """
        with self.page.expect_navigation():
            target.click()

    def width(self) -> int:
        """Return the width of the loaded page, which is more than the window's if it scrolls sideways."""
        self.page.wait_for_load_state()
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def axe(self) -> list[str]:
        """Accessibility faults of the loaded page."""
        self.page.wait_for_load_state()
        return axe_faults(self.page)


@pytest.fixture
def visit(worker: None, look: Callable[..., Visitor]) -> Callable[..., Visitor]:
    """With a worker behind the portal."""
    return look


class SignedIn:
    """What a browser has after a sign-in. The form itself is for the tests of the sign-in: here it would cost as much as the page."""

    def __init__(self, name: str, base: str) -> None:
        client = Client(SERVER_NAME=str(urlsplit(base).hostname))
        answer = client.post("/login/", {"username": name, "password": PASSWORD})
        assert answer.status_code == 302
        self.leads_to = answer.headers["Location"]
        self.cookies = [self._cookie(morsel, base) for morsel in client.cookies.values()]

    @staticmethod
    def _cookie(morsel: Morsel[str], base: str) -> Any:
        return {
            "name": morsel.key,
            "value": morsel.value,
            "url": base + morsel["path"],
            "httpOnly": bool(morsel["httponly"]),
            "sameSite": morsel["samesite"],
        }


def _keep_session(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Let a thread of the live server keep its session of the database from one request to the next.

    A new session for each request costs PostgreSQL more than the request. The server closes it with
    the browser's connection, which the thread serves.
    """
    if "process_request_thread" in threading.current_thread().name:
        connection.close_at = None


@pytest.fixture
def _kept_sessions() -> Iterator[None]:
    connection_created.connect(_keep_session)
    yield
    connection_created.disconnect(_keep_session)


@pytest.fixture
def look(portal: Portal, _kept_sessions: None, live_server: Any, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Without a worker: what stands in the database stays as it is."""
    visitors: list[Visitor] = []

    def sign_in(name: str = "alice", *, width: int = 1200, height: int = 900, dark: bool = False) -> Visitor:
        signed_in = SignedIn(name, live_server.url)
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        visitor = Visitor(context.new_page(), live_server.url)
        context.add_cookies(signed_in.cookies)
        visitor.open(signed_in.leads_to)
        visitors.append(visitor)
        return visitor

    yield sign_in
    for visitor in visitors:
        visitor.page.context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []
