"""Journey S4: a person, a team, and a leaver, by texts of the pages alone; every click counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Browser, expect

from certs.access.permissions import is_member
from certs.models import Domain, OutgoingMail, Team
from certs.notifications.delivery.mail import message_of
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)
Look = Callable[..., Visitor]


class Clicks:
    """Counts what a person presses."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.count = visitor, 0

    def press(self, role: Any, name: str, *, exact: bool = True) -> None:
        self.count += 1
        self.visitor.follow(self.visitor.page.get_by_role(role, name=name, exact=exact).first)

    def open(self, fold: str) -> None:
        """Open a fold of the page that is shown."""
        self.count += 1
        self.visitor.page.locator("summary:visible", has_text=fold).click()


def test_team_person_and_leaver(look: Look, portal: Portal, browser: Browser, live_server: Any) -> None:
    """S4: it took 2 pages and 9 actions for a person, in the admin, and nothing was recorded."""
    carol = look("carol")
    page, clicks = carol.page, Clicks(carol)
    # A team, and its name: 7 clicks from home. An officer's menu keeps what is needed less often behind "More".
    carol.open("/")
    clicks.open("More")
    clicks.press("link", "Teams")
    clicks.press("link", "New team")
    page.get_by_label("Name", exact=True).fill("Shop")
    page.get_by_label("Short name").fill("shop")
    clicks.press("button", "Make the team")
    clicks.press("link", "Add names")
    page.get_by_label("Domains, one a line").fill("Shop.Example.com.\ncom")
    clicks.press("button", "Show what it does")
    expect(page.get_by_text("It belongs to Web now, as a part of example.com.")).to_be_visible()
    expect(page.get_by_text("Domain com is a public suffix", exact=False)).to_be_visible()
    clicks.press("button", "Give shop.example.com to Shop")
    assert Domain.objects.get(name="shop.example.com").team.slug == "shop"
    assert clicks.count == 7
    # A person: 3 clicks, and 2 of the person's own.
    clicks.count = 0
    clicks.press("link", "People")
    clicks.press("link", "Invite a person")
    page.get_by_label("Mail address").fill("dora@example.com")
    clicks.press("button", "Send the invitation")
    assert clicks.count == 3
    mail = OutgoingMail.objects.get(recipient="dora@example.com")
    link = re.search(r"/invitations/[\w-]+/", str(message_of(mail).body))
    assert link
    dora = browser.new_context().new_page()
    dora.goto(live_server.url + link[0])
    dora.get_by_label("Your name").fill("Dora Novak")
    dora.get_by_label("Password", exact=True).fill(PASSWORD)
    dora.get_by_label("Password again").fill(PASSWORD)
    dora.get_by_role("button", name="Make my account").click()
    expect(dora.get_by_role("heading", name="Your account is made")).to_be_visible()
    dora.get_by_role("main").get_by_role("link", name="Sign in").click()
    dora.get_by_label("User name").fill("dora")
    dora.get_by_label("Password").fill(PASSWORD)
    dora.get_by_role("button", name="Sign in", exact=True).click()
    expect(dora.get_by_role("link", name="Team", exact=True)).to_be_visible()
    assert is_member(get_user_model().objects.get(username="dora"), Team.objects.get(slug="shop"))
    # The leaver: 3 clicks from the team's people.
    clicks.count = 0
    carol.open("/teams/shop/people/")
    clicks.press("link", "Dora Novak")
    clicks.press("link", "Remove access")
    expect(page.get_by_text("dora is switched off.", exact=False)).to_be_visible()
    clicks.press("button", "Remove access of Dora Novak")
    expect(page.get_by_text("dora has no access any more.")).to_be_visible()
    assert clicks.count == 3
    dora.goto(live_server.url + "/")
    expect(dora.get_by_role("heading", name="Sign in")).to_be_visible()


def test_person_without_a_team_asks_one(look: Look, portal: Portal) -> None:
    get_user_model().objects.create_user("nina", "nina@example.com", PASSWORD)
    portal.team.leads.add(portal.alice)
    nina = look("nina")
    nina.open("/")
    nina.page.get_by_label("Team", exact=True).select_option("web")
    nina.page.get_by_label("Why you belong to it").fill("I run the shop.")
    nina.follow(nina.page.get_by_role("button", name="Ask the team"))
    expect(nina.page.get_by_text("You are mailed when it answers.").first).to_be_visible()
    alice = look("alice")
    alice.open("/teams/")
    alice.follow(alice.page.get_by_role("button", name="Take in nina"))
    assert is_member(get_user_model().objects.get(username="nina"), portal.team)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_previews_and_invitations_have_no_accessibility_fault(look: Look, portal: Portal, dark: bool) -> None:
    carol = look("carol", dark=dark)
    faults = {}
    for path in (
        "/people/",
        f"/people/{portal.alice.pk}/",
        f"/people/{portal.alice.pk}/remove/",
        f"/account/security/of/{portal.alice.pk}/",
        f"/people/{portal.alice.pk}/certificates/",
        f"/teams/web/people/{portal.alice.pk}/leave/",
        "/invite/",
        "/new-team/",
        "/teams/web/names/",
        "/teams/web/names/?names=shop.example.com%0Acom&to=other",
        "/invitations/nonsense/",
    ):
        carol.open(path)
        faults[path] = carol.axe()
    assert {path: found for path, found in faults.items() if found} == {}


def test_pages_of_teams_and_people_fit_a_phone(look: Look, portal: Portal) -> None:
    portal.team.name = "Team-with-a-name-that-has-no-place-to-break-" * 2
    portal.team.save()
    carol = look("carol", width=360, height=740)
    widths = {}
    for path in (
        "/teams/",
        "/teams/web/",
        "/teams/web/people/",
        "/people/",
        f"/people/{portal.alice.pk}/",
        f"/people/{portal.alice.pk}/remove/",
    ):
        carol.open(path)
        widths[path] = carol.width()
    assert {path: width for path, width in widths.items() if width > 360} == {}
