"""A CA is looked at, replaced and added in the browser, with the clicks that it takes (journeys S6 and S8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from certs.authorities.forecast import forecast_reissue
from certs.ca.local.setup import ensure_own_ca
from certs.ca.registry import forget_clients
from certs.models import Reissue
from keys.spec import KeySpec
from tests.journeys.conftest import Visitor
from tests.portal.admin_pages import admin_pages
from tests.portal.authority import issue, publish_everything
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def other(portal: Portal) -> Iterator[None]:
    publish_everything()
    ensure_own_ca(name="Other-CA", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    issue(portal, 2)
    yield
    forget_clients()


class Clicks:
    """Counts what a person clicks."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.count = visitor, 0

    def follow(self, target: Locator) -> None:
        self.count += 1
        self.visitor.follow(target)

    def click(self, target: Locator) -> None:
        self.count += 1
        target.click()


@pytest.mark.usefixtures("other")
def test_health_of_a_ca_is_two_clicks_away(look: Callable[..., Visitor]) -> None:
    """End, fingerprint, key place, CRL and OCSP on one page (S6)."""
    carol = look("carol")
    clicks, page = Clicks(carol), carol.page
    clicks.follow(page.get_by_role("navigation", name="Main").get_by_role("link", name="CAs"))
    clicks.follow(page.get_by_role("link", name="Internal-CA-Prod", exact=True))
    for text in ("SHA-256 fingerprint", "nextUpdate", "OCSP responder", "Last success", "the portal, encrypted"):
        expect(page.get_by_text(text).first).to_be_visible()
    assert carol.axe() == []
    assert clicks.count == 2


@pytest.mark.usefixtures("other")
def test_a_lost_ca_is_replaced_in_six_clicks_with_a_forecast(look: Callable[..., Visitor]) -> None:
    """CA, plan, other CA, forecast, name typed, start; then pause. Without JavaScript it is the same pages."""
    carol = look("carol", width=390, dark=True)
    clicks, page = Clicks(carol), carol.page
    carol.open("/cas/internal-ca-prod/")
    clicks.follow(page.get_by_role("link", name="Plan a re-issue"))
    assert carol.axe() == []
    page.get_by_label("Why").fill("lost in an outage")
    clicks.click(page.get_by_label("Other-CA"))
    clicks.follow(page.get_by_role("button", name="Show what would be done"))
    forecast_reissue(Reissue.objects.get().pk)  # what a worker does
    page.reload()
    expect(page.get_by_role("heading", name="Who is affected")).to_be_visible()
    assert carol.axe() == []
    assert carol.width() == 390
    page.get_by_label("Type Internal-CA-Prod to start").fill("Internal-CA-Prod")
    clicks.follow(page.get_by_role("button", name="Start re-issue"))
    clicks.follow(page.get_by_role("button", name="Pause re-issue"))
    expect(page.get_by_role("button", name="Resume re-issue")).to_be_visible()
    assert carol.axe() == []
    assert clicks.count <= 6


@pytest.mark.usefixtures("other")
def test_a_stolen_ca_is_followed_and_distrusted_in_six_clicks(look: Callable[..., Visitor]) -> None:
    """The new one first, then the end of the old one; each says whom it affects and wants the name typed."""
    carol = look("carol", width=390, dark=True)
    clicks, page = Clicks(carol), carol.page
    carol.open("/cas/internal-ca-prod/")
    clicks.follow(page.get_by_role("link", name="Roll over to a new CA"))
    assert carol.axe() == []
    assert carol.width() == 390
    clicks.click(page.get_by_label("ECDSA P-256"))
    page.get_by_label("Type Internal-CA-Prod to roll it over").fill("Internal-CA-Prod")
    clicks.follow(page.get_by_role("button", name="Roll over"))
    expect(page.get_by_text("Internal-CA-Prod-G2 has taken over")).to_be_visible()
    carol.open("/cas/internal-ca-prod/")
    clicks.follow(page.get_by_role("link", name="Distrust this CA"))
    assert carol.axe() == []
    assert carol.width() == 390
    clicks.click(page.get_by_label("Its key is in the wrong hands"))
    page.get_by_label("Type Internal-CA-Prod to distrust it").fill("Internal-CA-Prod-G2")
    carol.follow(page.get_by_role("button", name="Distrust this CA"))
    expect(page.get_by_label("Type Internal-CA-Prod to distrust it")).to_be_focused()
    assert carol.axe() == []
    page.get_by_label("Type Internal-CA-Prod to distrust it").fill("Internal-CA-Prod")
    clicks.follow(page.get_by_role("button", name="Distrust this CA"))
    expect(page.get_by_text("the CRL of its root says so")).to_be_visible()
    assert clicks.count <= 6


@pytest.mark.usefixtures("other")
def test_an_own_ca_is_made_in_five_clicks(look: Callable[..., Visitor]) -> None:
    carol = look("carol")
    clicks, page = Clicks(carol), carol.page
    carol.open("/cas/")
    clicks.follow(page.get_by_role("link", name="Add a CA"))
    clicks.follow(page.get_by_role("link", name="make an own CA"))
    assert carol.axe() == []
    page.get_by_label("Name", exact=True).fill("Plant-CA")
    page.get_by_label("Organization").fill("Example Ltd")
    clicks.click(page.get_by_label("ECDSA P-256"))
    page.get_by_label("The name once more").fill("Plant-CA")
    clicks.follow(page.get_by_role("button", name="Make this CA"))
    expect(page.get_by_role("heading", name="Plant-CA")).to_be_visible()
    assert clicks.count <= 5


@pytest.mark.usefixtures("other")
def test_adding_a_ca_says_what_is_wrong_beside_the_field(look: Callable[..., Visitor]) -> None:
    carol = look("carol")
    page = carol.page
    carol.open("/cas/")
    carol.follow(page.get_by_role("link", name="Add a CA"))
    carol.follow(page.get_by_role("link", name="A CA over REST"))
    assert carol.axe() == []
    page.get_by_label("Name", exact=True).fill("Branch-CA")
    page.get_by_label("Address").fill("https://ca.example.com")
    page.get_by_label("File with the credential").fill("../secret")
    page.get_by_label("Name in the test certificate").fill("ca-test.example.com")
    carol.follow(page.get_by_role("button", name="Connect"))
    expect(page.get_by_text("This is no name of a file.")).to_be_visible()
    expect(page.get_by_label("File with the credential")).to_be_focused()
    expect(page.get_by_label("Address")).to_have_value("https://ca.example.com")
    page.get_by_label("File with the credential").fill("branch")
    carol.follow(page.get_by_role("button", name="Connect"))
    expect(page.get_by_role("heading", name="Add Branch-CA")).to_be_visible()
    address = page.url
    carol.open("/cas/")
    carol.follow(page.get_by_role("link", name="Branch-CA"))
    assert page.url == address
    assert carol.axe() == []


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_admin_has_no_accessibility_fault_and_cuts_no_column_off(
    portal: Portal, look: Callable[..., Visitor], width: int, dark: bool
) -> None:
    """Every list at one of two sizes and themes, every second one at each; and a form of each kind."""
    portal.carol.is_superuser = portal.carol.is_staff = True
    portal.carol.save()
    carol = look("carol", width=width, dark=dark)
    faults: dict[str, Any] = {}
    models = sorted(admin_pages(), key=lambda model: model._meta.label)
    paths = [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in models][dark::2]
    for path in ["/admin/", *paths, "/admin/certs/team/add/", "/admin/auth/user/1/change/", "/admin/django_celery_beat/periodictask/add/"]:
        carol.open(path)
        found = carol.axe()
        cut_off = "(() => { const list = document.querySelector('.results'); return list ? list.scrollWidth - list.clientWidth : 0 })()"
        if width == 1280 and carol.page.evaluate(cut_off) > 0:
            found.append("a column is cut off")
        if carol.width() > width:
            found.append("the page scrolls sideways")
        if found:
            faults[path] = found
    assert faults == {}
