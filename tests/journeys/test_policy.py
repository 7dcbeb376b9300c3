"""Journey S3: a shorter validity from a date, seen before it counts, and published by a second officer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Locator, expect

from certs.models import OutgoingMail
from db.clock import database_now
from policy.models import PolicyVersion
from tests.cast import person
from tests.certs.api.test_issue import Api, pem_csr
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


class Clicks:
    """Counts the clicks of a journey, and looks at each page that they lead to with axe."""

    def __init__(self) -> None:
        self.count = 0
        self.faults: dict[str, list[str]] = {}

    def __call__(self, visitor: Visitor, target: Locator) -> None:
        self.count += 1
        visitor.follow(target)
        self.faults[visitor.page.title()] = visitor.axe()


def officers() -> None:
    for name in ("olga", "piet"):
        person(name, "security officer", email=f"{name}@example.org", password=PASSWORD)


def test_shorter_validity_from_a_date(visit: Visit, portal: Portal) -> None:
    """Journey S3: it took 5 clicks and 850 characters of JSON typed blind, and was in force at once for everybody."""
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    officers()
    start = (database_now() + timedelta(days=1)).date()
    olga, clicks = visit("olga"), Clicks()
    clicks(olga, olga.page.get_by_role("link", name="Policy", exact=True).first)
    clicks(olga, olga.page.get_by_role("link", name="Change the policy"))
    clicks(olga, olga.page.get_by_role("button", name="Begin with v2.3"))
    validity = olga.page.get_by_role("group", name="Validity", exact=True)
    validity.get_by_label("At most").nth(1).fill("20")
    validity.get_by_label("days from").first.fill(start.isoformat())
    olga.page.get_by_label("Validity, days").fill("20")
    clicks(olga, olga.page.get_by_role("button", name="Save and see what it will do"))
    expect(olga.page.get_by_text(f"At most 20 days from {start.day} {start:%b %Y}.")).to_be_visible()
    clicks(olga, olga.page.get_by_role("button", name="Replay v2.4"))
    expect(olga.page.get_by_text("get a shorter validity").first).to_be_visible(timeout=30_000)
    clicks(olga, olga.page.get_by_role("link", name="Go on to publishing"))
    expect(olga.page.get_by_text("Somebody else publishes it.")).to_be_visible()
    piet = visit("piet")
    clicks(piet, piet.page.get_by_role("link", name="Policy", exact=True).first)
    clicks(piet, piet.page.get_by_role("link", name="Read and publish"))
    clicks(piet, piet.page.get_by_role("button", name="Publish v2.4"))
    expect(piet.page.get_by_text("a mail.")).to_be_visible()
    assert clicks.count <= 9
    assert {page: found for page, found in clicks.faults.items() if found} == {}
    assert PolicyVersion.objects.get(version="v2.4").published_by == "piet"
    assert OutgoingMail.objects.filter(topic="policy").exists()


def test_pages_of_the_policy_fit_a_phone_and_have_no_accessibility_fault_in_the_dark(visit: Visit, portal: Portal) -> None:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    officers()
    olga = visit("olga", width=390, height=800, dark=True)
    olga.open("/policy/new/")
    olga.follow(olga.page.get_by_role("button", name="Begin with v2.3"))
    draft = PolicyVersion.objects.get(version="v2.4")
    published = PolicyVersion.objects.get(version="v2.3")
    faults, widths = {}, {}
    for path in (
        "/policy/",
        "/policy/new/",
        *(f"/policy/versions/{draft.pk}/{step}/" for step in ("edit", "effect", "publish")),
        f"/policy/versions/{published.pk}/",
        "/policy/waivers/",
        "/policy/waivers/new/",
        "/policy/waivers/new/?rule=allowed_keys",
    ):
        olga.open(path)
        faults[path], widths[path] = olga.axe(), olga.width()
    assert {path: found for path, found in faults.items() if found} == {}
    assert {path: width for path, width in widths.items() if width > 390} == {}


def test_each_thing_to_correct_is_named_at_the_top_with_a_link_to_its_field(visit: Visit, portal: Portal) -> None:
    """A stranger who shortened the validity read "1 thing to correct", and found it, the default, three screens below."""
    officers()
    olga = visit("olga")
    olga.open("/policy/new/")
    olga.follow(olga.page.get_by_role("button", name="Begin with v2.3"))
    olga.page.get_by_role("group", name="Validity", exact=True).get_by_label("At most").first.fill("20")
    olga.follow(olga.page.get_by_role("button", name="Save and see what it will do"))
    olga.page.get_by_role("alert").first.get_by_role("link").first.click()
    expect(olga.page.get_by_label("Validity, days")).to_be_in_viewport()
    assert olga.axe() == []
