"""S1: an auditor asks what ends in 30 days and will not renew itself, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from playwright.sync_api import expect

from certs.estate.compliance import judge_day
from certs.inventory.figures import count_states
from certs.models import Certificate, RenewalBlocked
from db.clock import database_now
from tests.cast import person
from tests.journeys.conftest import Visitor
from tests.portal.authority import issue
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def needing_a_person(portal: Portal) -> Certificate:
    """One certificate that ends in 12 days and needs a new CSR, beside one that renews itself."""
    first, _ = issue(portal, 2)
    now = database_now()
    Certificate.objects.filter(pk=first.pk).update(
        not_after=now + timedelta(days=12),
        alert_at=now - timedelta(days=1),
        renewal_blocked=RenewalBlocked.NEEDS_CSR,
        owner=portal.alice,
    )
    count_states()
    judge_day()
    return Certificate.objects.get(pk=first.pk)


@pytest.mark.parametrize("width", [1280, 390])
def test_an_auditor_has_the_answer_on_the_first_page_without_a_click(look: Callable[..., Visitor], portal: Portal, width: int) -> None:
    """S1: no answer after a dozen pages. Now 0 clicks after sign-in, and 1 click to the list."""
    row = needing_a_person(portal)
    person("audra", "auditor", password=PASSWORD)
    audra = look("audra", width=width)
    audra.open("/")
    assert audra.page.url.endswith("/estate/")
    expect(audra.page.get_by_text("1 certificate ends within 30 days, and nothing renews it.")).to_be_visible()
    line = audra.page.get_by_role("row").filter(has_text=row.first_name)
    expect(line.get_by_text("Only its server can make the new key.")).to_be_visible()
    expect(line.get_by_text("alice")).to_be_visible()
    expect(line.get_by_role("link", name="Renew with a new CSR")).to_be_visible()
    assert audra.axe() == []
    assert audra.width() <= width
    audra.follow(audra.page.get_by_role("link", name="1 certificate", exact=True))
    expect(audra.page.get_by_role("link", name=row.first_name)).to_be_visible()


def test_the_page_says_everything_without_javascript(portal: Portal) -> None:
    row = needing_a_person(portal)
    browser = Client()
    browser.force_login(portal.alice)
    text = browser.get("/estate/").content.decode()
    assert row.first_name in text
    assert text.count("The same as a table") == 2
    assert "<script>" not in text
