"""Journey S7: all certificates with short RSA keys, and all on one key, are found and revoked with a preview."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from playwright.sync_api import Locator, expect

from certs.inventory.listing import listed as lists
from certs.models import BulkAct, Certificate
from db.counting import Few
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.life import new_policy
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
MOST_CLICKS = 6


class Clicks:
    """Clicks like a person, and counts."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.count = visitor, 0

    def tick(self, target: Locator) -> None:
        self.count += 1
        target.check()

    def follow(self, target: Locator) -> None:
        self.count += 1
        self.visitor.follow(target)


def search(visitor: Visitor, text: str) -> None:
    """Search from any page, by the keyboard alone."""
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.type(text)
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_load_state()


def wait_until_done(act: BulkAct) -> None:
    for _ in range(100):
        act.refresh_from_db()
        if act.state == "done":
            return
        time.sleep(0.2)
    raise AssertionError(f"{act.public_id} is {act.state}")


def wait_until_delivered() -> None:
    """The worker sends the revocations to the CA meanwhile."""
    for _ in range(100):
        if not Certificate.objects.filter(status="revocation_pending").exists():
            return
        time.sleep(0.2)
    raise AssertionError("revocations are not delivered")


@pytest.fixture
def short_keys(portal: Portal) -> str:
    """Thirty certificates on two short keys, issued when the policy allowed that; returns the hash of one of the keys."""
    api = Api(portal.token())
    new_policy("v2.2", allowed_keys={"rsa": {"min_bits": 2048}})
    one, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    for number in range(30):
        csr = pem_csr(f"old-{number:02}.example.com", key=one if number < 10 else other)
        assert api.post("/certificates/issue", {"csr": csr})[0] == 200
    return Certificate.objects.earliest("pk").spki_sha256


def test_all_short_keys_and_all_on_one_key_are_revoked(visit: Callable[..., Visitor], portal: Portal, short_keys: str) -> None:
    carol = visit("carol")
    page = carol.page
    # All RSA keys below 3072 bits.
    clicks = Clicks(carol)
    search(carol, "key:rsa<3072")
    expect(page.get_by_text("30 certificates, 25 shown.")).to_be_visible()
    clicks.tick(page.get_by_label("All 30 of this view"))
    clicks.follow(page.get_by_role("button", name="Revoke", exact=True))
    clicks.tick(page.get_by_label("It was replaced"))
    clicks.follow(page.get_by_role("button", name="Show what it will do"))
    assert carol.axe() == []
    expect(page.get_by_text("30 certificates will be revoked.")).to_be_visible()
    page.get_by_label("Type the number of certificates, 30").fill("30")
    clicks.follow(page.get_by_role("button", name="Revoke 30 certificates"))
    assert clicks.count <= MOST_CLICKS
    assert carol.axe() == []
    wait_until_done(BulkAct.objects.get())
    expect(page.locator("#live").get_by_text("30 of 30 ended")).to_be_visible(timeout=10_000)
    # The lines say what became of them without being loaded again.
    expect(page.locator("#lines tbody").get_by_text("done", exact=True)).to_have_count(30)
    expect(page.locator("#lines").get_by_text("Waiting")).to_have_count(0)
    assert carol.axe() == []
    assert Certificate.objects.exclude(status="good").count() == 30
    # All on one key, whose hash a page or openssl printed with colons.
    clicks = Clicks(carol)
    colons = ":".join(short_keys[at : at + 2] for at in range(0, 64, 2)).upper()
    search(carol, f"SHA256={colons}")
    expect(page.get_by_text("10 certificates.")).to_be_visible()
    clicks.tick(page.get_by_label("Select the certificates of this page"))
    clicks.follow(page.get_by_role("button", name="Revoke", exact=True))
    clicks.tick(page.get_by_label("The key may be in other hands"))
    clicks.follow(page.get_by_role("button", name="Show what it will do"))
    clicks.follow(page.get_by_role("button", name="Revoke 10 certificates"))
    assert clicks.count <= MOST_CLICKS
    wait_until_done(BulkAct.objects.latest("pk"))
    wait_until_delivered()
    reasons = Certificate.objects.filter(spki_sha256=short_keys).values_list("revocation__reason", flat=True)
    assert set(reasons) == {"keyCompromise"}


def test_the_list_works_without_a_script(look: Callable[..., Visitor], portal: Portal, short_keys: str) -> None:
    signed_in = look("carol")
    browser = signed_in.page.context.browser
    assert browser is not None
    state = signed_in.page.context.storage_state()
    context = browser.new_context(java_script_enabled=False, storage_state=state)
    carol = Visitor(context.new_page(), signed_in.base)
    page = carol.page
    carol.open("/certificates/?key=rsa%3C3072&sort=name")
    page.get_by_label("Select old-00.example.com").check()
    carol.follow(page.get_by_role("button", name="Add tag", exact=True))
    page.get_by_label("Tag").fill("shop")
    carol.follow(page.get_by_role("button", name="Show what it will do"))
    carol.follow(page.get_by_role("button", name="Tag 1 certificate"))
    expect(page.get_by_role("heading", name="Add tag: 1 certificate")).to_be_visible()
    carol.open("/certificates/?key=rsa%3C3072&sort=name")
    carol.follow(page.get_by_role("link", name="Next", exact=True))
    expect(page.get_by_role("link", name="old-29.example.com")).to_be_visible()
    carol.follow(page.get_by_role("link", name="Previous", exact=True))
    expect(page.get_by_role("link", name="old-00.example.com")).to_be_visible()
    assert carol.complaints == []
    context.close()


def test_a_number_that_takes_long_comes_after_the_page_and_offers_the_whole_view(
    visit: Callable[..., Visitor], short_keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "counted_window", lambda rows, groups, plan: None)
    monkeypatch.setattr(lists, "few_counted", lambda rows, plan, most, counted: Few(None, in_time=False))
    carol = visit("carol")
    carol.open("/certificates/?key=rsa")
    page = carol.page
    expect(page.locator("#total")).to_have_text("30 certificates, 25 shown.")
    whole = page.get_by_label("All 30 of this view")
    page.get_by_label("Select the certificates of this page").check()
    expect(page.get_by_text("25 selected")).to_be_visible()
    whole.check()
    expect(page.get_by_text("25 selected")).to_be_hidden()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("30")
