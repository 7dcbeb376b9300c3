"""Every page for everybody: keyboard, phone, dark, screen reader; and the vendored files are the ones that were checked in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Page, expect

from certs.bulk.drafting.draft import draft, lines_of
from certs.models import BulkItem, CertificateRequest, OperatorAlert, Team
from certs.requests.domains.domain_requests import ask_for_domain
from certs.requests.plan import plan_words
from certs.requests.submit import submit
from db.clock import database_now
from tests.journeys.conftest import Visitor, axe_faults
from tests.portal.fixtures import Portal

Visit = Callable[..., Visitor]
PAGES = (
    "/",
    "/new/",
    "/new/csr/",
    "/new/automatic/",
    "/words/",
    "/requests/",
    "/certificates/",
    "/certificates/acts/",
    "/register/",
    "/audit/",
    "/audit/consistency/",
    "/cas/",
    "/cas/internal-ca-prod/",
    "/estate/",
    "/estate/readiness/",
    "/tokens/",
    "/account/",
    "/account/security/",
    "/account/mails/",
    "/teams/",
    "/teams/web/",
    "/teams/web/people/",
    "/teams/web/certificates/",
    "/teams/web/tokens/",
    "/teams/web/mails/",
    "/teams/web/webhooks/",
    "/inbox/",
    "/teams/web/ask-for-domain/",
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_accessibility_fault(visit: Visit, dark: bool) -> None:
    carol = visit("carol", dark=dark)
    alice = visit(dark=dark)
    faults: dict[str, list[str]] = {}
    for visitor, paths in (
        (alice, PAGES),
        (carol, ("/inbox/", "/alerts/", "/machinery/", "/cas/", "/cas/internal-ca-prod/", "/estate/", "/estate/readiness/")),
        (carol, ("/cas/own/new/", "/cas/internal-ca-prod/roll-over/", "/cas/internal-ca-prod/distrust/")),
    ):
        for path in paths:
            visitor.open(path)
            faults[path] = visitor.axe()
    for sentence in ("Issue TLS certificate for api.example.com with RSA 2048", "nonsense"):
        alice.ask(sentence)
        faults[sentence] = alice.axe()
    alice.plan("Issue TLS certificate for api.example.com with P-256")
    alice.page.get_by_role("button", name="Get the certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    faults["request"] = alice.axe()
    alice.follow(alice.page.get_by_role("link", name="cert-").first)
    faults["certificate"] = alice.axe()
    alice.follow(alice.page.get_by_role("link", name="Change owner and purpose"))
    faults["owner and purpose"] = alice.axe()
    alice.open("/certificates/?critical=yes&ends_before=2199-01-01")
    faults["filtered"] = alice.axe()
    assert {path: found for path, found in faults.items() if found} == {}


def test_axe_names_what_is_wrong_with_a_page(page: Page) -> None:
    page.set_content('<html lang="en"><title>x</title><main><h1>x</h1><img src="x"><input></main></html>')
    assert axe_faults(page) == ['image-alt: <img src="x">', "label: <input>"]


@pytest.mark.django_db(transaction=True)
def test_phone_of_360_pixels_scrolls_in_one_direction(visit: Visit) -> None:
    alice = visit(width=360, height=740)
    widths = {}
    for path in PAGES:
        alice.open(path)
        widths[path] = alice.width()
    alice.plan("Certificate for a-very-long-name-of-a-service-somewhere.department.example.com and b.example.com, P-256")
    widths["plan"] = alice.width()
    alice.page.get_by_role("button", name="Get the certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    widths["request"] = alice.width()
    alice.follow(alice.page.get_by_role("link", name="cert-").first)
    widths["certificate"] = alice.width()
    alice.follow(alice.page.get_by_role("link", name="Change owner and purpose"))
    widths["owner and purpose"] = alice.width()
    assert {path: width for path, width in widths.items() if width > 360} == {}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [768, 1199, 1200])
def test_the_bar_of_an_officer_leaves_room_to_search(look: Visit, portal: Portal, width: int) -> None:
    carol = look("carol", width=width)
    carol.open("/reports/")
    assert carol.width() == width
    field = carol.page.get_by_label("Search certificates").bounding_box()
    assert field is not None
    assert field["width"] >= 144
    carol.page.locator("summary:visible", has_text="More" if width >= 1200 else "Menu").click()
    carol.follow(carol.page.get_by_role("navigation", name="Main").get_by_role("link", name="Register"))
    expect(carol.page.get_by_role("heading", name="Register").first).to_be_visible()


@pytest.mark.django_db(transaction=True)
def test_keyboard_alone_is_enough(visit: Visit) -> None:
    alice = visit()
    alice.open("/words/")
    alice.page.keyboard.press("Tab")
    expect(alice.page.get_by_text("Skip to the content")).to_be_focused()
    alice.page.keyboard.press("Enter")
    alice.open("/new/")
    expect(alice.page.get_by_label("Or say it")).to_be_focused()
    alice.page.keyboard.type("Issue TLS certificate for keys.example.com with P-256, key in the vault")
    tab_to(alice, "Go on")
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_label("Names")).to_be_focused()
    tab_to(alice, "Show the plan")
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_role("heading", name="The plan")).to_be_visible()


@pytest.mark.django_db(transaction=True)
def test_phone_begins_at_the_question_of_a_new_certificate(visit: Visit) -> None:
    """The focus in the text field, below seven tiles, pulled the page past the question and the tiles."""
    alice = visit(width=390, height=844)
    alice.open("/new/")
    expect(alice.page.get_by_role("heading", name="Where will the certificate be used?")).to_be_in_viewport()
    assert alice.page.evaluate("window.scrollY") == 0


def tab_to(visitor: Visitor, text: str) -> None:
    for _ in range(25):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.textContent").strip() == text:
            return
    raise AssertionError(f"{text} is not reached")


@pytest.mark.django_db(transaction=True)
def test_theme_follows_the_system_and_can_be_changed(visit: Visit) -> None:
    alice = visit(dark=True)
    assert alice.page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    alice.page.locator("details.menu summary").click()
    alice.page.get_by_role("button", name="Switch to the light theme").click()
    alice.open("/requests/")
    assert alice.page.evaluate("document.documentElement.dataset.bsTheme") == "light"


@pytest.mark.parametrize("folder", ["static/vendor", "tests/journeys/vendor"])
def test_vendored_files_are_those_whose_sums_were_committed(folder: str) -> None:
    vendor = ROOT / folder
    lines = (vendor / "SHA256SUMS").read_text().split("\n")
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines if line)}
    found = {
        f"./{path.relative_to(vendor)}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == sums


def request_in(portal: Portal, state: str, **fields: Any) -> CertificateRequest:
    """A request as its page finds it in a state, without the work that leads there."""
    plan: Any = plan_words("Issue TLS certificate for *.apps.example.com with P-256", requester=portal.requester())
    row = submit(plan.specs[0], requester=portal.requester())
    CertificateRequest.objects.filter(pk=row.pk).update(state=state, **fields)
    return row


@pytest.fixture
def standing(portal: Portal) -> dict[str, str]:
    """Addresses of requests that stand: waiting for approval, held, failed, cancelled."""
    now, reason = database_now(), "CA unavailable after 3 retries"
    rows = {
        "approval": request_in(portal, "awaiting_approval"),
        "held": request_in(portal, "csr_created", held_since=now, resume_id="resume-1", error=reason),
        "failed": request_in(portal, "failed", stopped_at="csr_created", resume_id="resume-2", error="Worker lost three times"),
        "cancelled": request_in(portal, "cancelled"),
    }
    asked = ask_for_domain(f"{'a-long-name.' * 9}example.net", why="We run it.", requester=portal.requester())
    alert = OperatorAlert.objects.create(
        kind="ca_unavailable",
        cause="ca:x",
        message="Internal-CA-Prod is unavailable " * 8,
        next_step="Wait.",
        raised_at=now,
        last_seen_at=now,
    )
    return {name: f"/requests/{row.public_id}/" for name, row in rows.items()} | {
        "alerts": "/alerts/",
        "alert": f"/alerts/{alert.pk}/",
        "inbox": "/inbox/",
        "domain": f"/domain-requests/{asked.public_id}/",
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_of_standing_requests_and_of_errors_have_no_accessibility_fault(look: Visit, standing: dict[str, str], dark: bool) -> None:
    faults, carol = {}, look("carol", dark=dark)
    paths = standing | {"missing": "/nope/", "not mine": "/requests/nope/"}
    for name, path in paths.items():
        carol.open(path)
        faults[name] = carol.axe()
    carol.open(standing["approval"])
    carol.page.get_by_role("button", name="Reject").click()
    expect(carol.page.get_by_text("A rejection needs a reason")).to_be_visible()
    faults["refused"] = carol.axe()
    carol.page.context.clear_cookies()
    carol.open("/login/")
    faults["login"] = carol.axe()
    carol.page.get_by_label("User name").fill("carol")
    carol.page.get_by_label("Password").fill("wrong")
    carol.follow(carol.page.get_by_role("button", name="Sign in"))
    faults["wrong password"] = carol.axe()
    assert {path: found for path, found in faults.items() if found} == {}


@pytest.mark.django_db(transaction=True)
def test_phone_of_360_pixels_shows_standing_requests_and_alerts(look: Visit, standing: dict[str, str]) -> None:
    carol, widths = look("carol", width=360, height=740), {}
    for name, path in standing.items():
        carol.open(path)
        widths[name] = carol.width()
    assert {name: width for name, width in widths.items() if width > 360} == {}


@pytest.mark.django_db(transaction=True)
def test_top_bar_stays_in_one_line_where_alerts_are_open(look: Visit, standing: dict[str, str], portal: Portal) -> None:
    get_user_model().objects.filter(pk=portal.carol.pk).update(is_staff=True)
    carol, heights = look("carol"), {}
    for width in (1000, 1100, 1200):
        carol.page.set_viewport_size({"width": width, "height": 800})
        carol.open("/alerts/")
        heights[width] = carol.page.locator(".topbar").bounding_box()["height"]  # type: ignore[index]
    assert {width: height for width, height in heights.items() if height > 62} == {}


HOSTILE = "<img src=x onerror=alert(1)>\"'{{ 7*7 }}"


@pytest.mark.django_db(transaction=True)
def test_hostile_team_names_comments_and_titles_are_text_and_nothing_more(look: Visit, portal: Portal) -> None:
    Team.objects.filter(pk=portal.team.pk).update(name=HOSTILE)
    request = request_in(portal, "rejected", error=f"Rejected by carol: {HOSTILE}")
    plan: Any = plan_words("Certificates for a.example.com and b.example.com", requester=portal.requester())
    order = draft(lines_of(plan), requester=portal.requester(), title=HOSTILE, notes=[HOSTILE])
    BulkItem.objects.filter(order=order).update(reason=HOSTILE, duplicate=HOSTILE, source=HOSTILE)
    alice = look()
    alice.page.on("dialog", lambda dialog: alice.complaints.append(dialog.message))
    for path in ("/", "/requests/", f"/requests/{request.public_id}/", "/tokens/", "/bulk/", "/bulk/new/", f"/bulk/{order.public_id}/"):
        alice.open(path)
        assert (path, alice.page.locator("img").count()) == (path, 0)
    expect(alice.page.get_by_text(HOSTILE).first).to_be_visible()
    assert alice.complaints == []
