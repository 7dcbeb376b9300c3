"""Every page for everybody: keyboard, phone, dark, screen reader; and the vendored files are the ones that were checked in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.journeys.conftest import Visitor

Visit = Callable[..., Visitor]
PAGES = ("/", "/?via=form", "/?via=csr", "/words/", "/requests/", "/certificates/", "/tokens/")
VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_accessibility_fault(visit: Visit, dark: bool) -> None:
    carol = visit("carol", dark=dark)
    alice = visit(dark=dark)
    faults: dict[str, list[str]] = {}
    for visitor, paths in ((alice, PAGES), (carol, ("/alerts/",))):
        for path in paths:
            visitor.open(path)
            faults[path] = visitor.axe()
    for sentence in ("Issue TLS certificate for api.example.com with RSA 2048", "nonsense"):
        alice.ask(sentence)
        faults[sentence] = alice.axe()
    alice.ask("Issue TLS certificate for api.example.com with P-256")
    alice.page.get_by_role("button", name="Issue it").click()
    expect(alice.page.get_by_text("Your certificate is ready")).to_be_visible(timeout=20_000)
    faults["request"] = alice.axe()
    alice.page.get_by_role("link", name="cert-").first.click()
    faults["certificate"] = alice.axe()
    assert {path: found for path, found in faults.items() if found} == {}


@pytest.mark.django_db(transaction=True)
def test_phone_of_360_pixels_scrolls_in_one_direction(visit: Visit) -> None:
    alice = visit(width=360, height=740)
    widths = {}
    for path in PAGES:
        alice.open(path)
        widths[path] = alice.page.evaluate("document.documentElement.scrollWidth")
    alice.ask("Certificate for a-very-long-name-of-a-service-somewhere.department.example.com and b.example.com, P-256")
    widths["plan"] = alice.page.evaluate("document.documentElement.scrollWidth")
    assert {path: width for path, width in widths.items() if width > 360} == {}


@pytest.mark.django_db(transaction=True)
def test_keyboard_alone_is_enough(visit: Visit) -> None:
    alice = visit()
    alice.open("/")
    alice.page.keyboard.press("Tab")
    expect(alice.page.get_by_text("Skip to the content")).to_be_focused()
    alice.page.keyboard.press("Enter")
    for _ in range(20):
        alice.page.keyboard.press("Tab")
        if alice.page.evaluate("document.activeElement.id") == "id_text":
            break
    alice.page.keyboard.type("Issue TLS certificate for keys.example.com with P-256")
    for _ in range(10):
        alice.page.keyboard.press("Tab")
        if alice.page.evaluate("document.activeElement.textContent").strip() == "Show the plan":
            break
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_role("heading", name="The plan")).to_be_visible()


@pytest.mark.django_db(transaction=True)
def test_theme_follows_the_system_and_can_be_changed(visit: Visit) -> None:
    alice = visit(dark=True)
    assert alice.page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    alice.page.get_by_role("button", name="Switch to the light theme").click()
    alice.open("/requests/")
    assert alice.page.evaluate("document.documentElement.dataset.bsTheme") == "light"


def test_vendored_files_are_those_whose_sums_were_committed() -> None:
    lines = (VENDOR / "SHA256SUMS").read_text().split("\n")
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines if line)}
    found = {
        f"./{path.relative_to(VENDOR)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == sums
