"""The pages of a new certificate for everybody: screen reader, dark, phone; and what happens while names are typed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from certs.models import RequestDraft
from certs.requests.drafts import DraftFields, begin
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
LONG = "a-very-long-name-of-a-service-somewhere.in-a-department.of-the-company.example.com"
DRAFTS = {
    "server": DraftFields(place="server", server="nginx", names=f"shop.example.com\n{LONG}"),
    "outside": DraftFields(place="java", server="iis", names="pay.other.test"),
    "refused key": DraftFields(place="vault", names="shop.example.com", key="rsa-2048"),
    "approval": DraftFields(place="vault", names=f"*.{LONG}"),
    "whole domain": DraftFields(place="server", names="*.example.com"),
    "no name": DraftFields(place="csr"),
}


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 390)], ids=["light", "dark phone"])
def test_pages_of_drafts_have_no_accessibility_fault_and_fit(look: Visit, portal: Portal, dark: bool, width: int) -> None:
    alice = look(dark=dark, width=width, height=800)
    faults: dict[str, list[str]] = {}
    widths: dict[str, int] = {}
    for name, fields in DRAFTS.items():
        draft = begin(fields, requester=portal.requester())
        for part in ("", "plan/") if name in ("refused key", "approval") else ("",):
            alice.open(f"/new/{draft.public_id}/{part}")
            for closed in alice.page.locator("details:not([open]) > summary").all():
                if closed.is_visible():
                    closed.click()
            faults[name + part], widths[name + part] = alice.axe(), alice.width()
    assert {name: found for name, found in faults.items() if found} == {}
    assert {name: found for name, found in widths.items() if found > width} == {}


def test_what_is_typed_is_judged_and_said_without_a_click(look: Visit, portal: Portal) -> None:
    draft = begin(DraftFields(place="server", server="nginx"), requester=portal.requester())
    alice = look()
    alice.open(f"/new/{draft.public_id}/")
    names = alice.page.get_by_label("Names")
    names.press_sequentially("pay.other.test")
    expect(alice.page.get_by_text("pay.other.test is outside the domains of team Web")).to_be_visible()
    expect(alice.page.locator("#draft-said")).to_contain_text("The policy refuses this")
    expect(names).to_be_focused()
    names.fill("pay.example.com")
    expect(alice.page.get_by_label("Command for Linux, macOS (openssl)")).to_contain_text("CN=pay.example.com")
    expect(alice.page.locator("#draft-said")).to_contain_text("10 checks passed. The command is written.")
    alice.page.get_by_text("Key and validity").click()
    alice.page.get_by_label("Key", exact=True).select_option("ec-p384")
    expect(alice.page.get_by_label("Command for Linux, macOS (openssl)")).to_contain_text("ec_paramgen_curve:P-384")
    assert alice.page.get_by_label("Key", exact=True).locator("option[value=rsa-2048]").is_disabled()
    draft.refresh_from_db()
    assert (draft.names, draft.key) == ("pay.example.com", "ec-p384")
    alice.page.get_by_role("button", name="Copy").first.click()
    expect(alice.page.get_by_role("button", name="Copied").or_(alice.page.get_by_role("button", name="Selected"))).to_be_visible()
    assert RequestDraft.objects.count() == 1
