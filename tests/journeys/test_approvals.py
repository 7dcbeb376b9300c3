"""The journeys of an approver, from the sign-in on, with the clicks that they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from audit.models import AuditEvent
from certs.bulk.submit import submit_order
from certs.models import ApprovalEvidence, BulkOrder, CertificateRequest, Domain
from certs.requests.domains.domain_requests import ask_for_domain
from certs.requests.plan import plan_words
from certs.requests.submit import submit
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.certs.bulk.orders import drafted, work_off_all
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


def wildcard(portal: Portal, name: str) -> CertificateRequest:
    plan: Any = plan_words(f"Issue TLS certificate for {name} with P-256", requester=portal.requester())
    row = submit(plan.specs[0], requester=portal.requester())
    CertificateRequest.objects.filter(pk=row.pk).update(state="awaiting_approval", state_changed_at=database_now())
    return row


def test_decide_what_waits_with_the_keyboard_and_with_three_clicks(look: Visit, portal: Portal) -> None:
    """Journey S2: sign in, open, decide; nothing is decided by Enter."""
    first, second = wildcard(portal, "*.apps.example.com"), wildcard(portal, "*.example.com")
    carol = look("carol")
    clicks = 0
    # The badge of any page, then the row, then the decision.
    carol.follow(carol.page.get_by_role("link", name="Inbox 2 waiting"))
    clicks += 1
    assert carol.axe() == []
    carol.follow(carol.page.get_by_role("link", name="Approve or reject *.apps.example.com"))
    clicks += 1
    expect(carol.page.get_by_role("heading", name="Your decision")).to_be_visible()
    assert carol.axe() == []
    carol.follow(carol.page.get_by_role("button", name="Approve", exact=True))
    clicks += 1
    assert clicks == 3
    expect(carol.page.get_by_text("*.apps.example.com was approved.")).to_be_visible()
    # Back in the inbox the keyboard does the next: j, r, a ready sentence, Tab to the button.
    carol.page.keyboard.press("?")
    expect(carol.page.get_by_text("open, and go to Approve")).to_be_visible()
    carol.page.keyboard.press("j")
    with carol.page.expect_navigation():
        carol.page.keyboard.press("r")
    expect(carol.page.get_by_label("Comment")).to_be_focused()
    expect(carol.page.get_by_text("Whole-domain wildcard: *.example.com")).to_be_visible()
    carol.page.keyboard.type("Name the hosts.")
    carol.page.keyboard.press("Enter")
    second.refresh_from_db()
    assert second.state == "awaiting_approval"
    carol.follow(carol.page.get_by_role("button", name="Reject", exact=True))
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("approved", "rejected")
    expect(carol.page.get_by_text("Nothing waits for you.")).to_be_visible()


def test_ask_back_answer_and_decide(look: Visit, portal: Portal) -> None:
    row = wildcard(portal, "*.apps.example.com")
    carol, alice = look("carol"), look()
    carol.open(f"/requests/{row.public_id}/")
    carol.page.get_by_text("Ask back", exact=True).click()
    carol.page.get_by_label("Question to the requester").fill("Which hosts?")
    carol.follow(carol.page.get_by_role("button", name="Send the question"))
    alice.open("/")
    alice.follow(alice.page.get_by_role("link", name="Answer carol about *.apps.example.com"))
    assert alice.axe() == []
    expect(alice.page.get_by_role("link", name="Answer the question")).to_be_visible()  # it said: nothing, close this page
    alice.page.get_by_label("Your answer").fill("shop and pay.")
    alice.follow(alice.page.get_by_role("button", name="Send the answer"))
    carol.open(f"/requests/{row.public_id}/")
    expect(carol.page.get_by_text("shop and pay.", exact=True)).to_be_visible()


def test_a_domain_is_asked_for_where_a_foreign_name_is_refused(look: Visit, portal: Portal) -> None:
    alice, carol = look(), look("carol")
    alice.plan("Issue TLS certificate for pay.other.test with P-256")
    alice.follow(alice.page.get_by_role("link", name="Ask for the domain"))
    expect(alice.page.get_by_label("Domain")).to_have_value("pay.other.test")
    alice.page.get_by_label("Why does the team need it?").fill("We run it.")
    alice.follow(alice.page.get_by_role("button", name="Ask for the domain"))
    carol.open("/inbox/")
    carol.follow(carol.page.get_by_role("link", name="Give pay.other.test to Web?"))
    assert carol.axe() == []
    carol.follow(carol.page.get_by_role("button", name="Give the domain to Web"))
    assert Domain.objects.get(name="pay.other.test").team == portal.team


def test_an_approval_is_confirmed_with_a_passkey_of_the_browser(look: Visit, portal: Portal) -> None:
    now = database_now()
    content = DEFAULT_V2_3 | {"version": "v3", "approval": {"confirmation": "second_factor"}}
    publish_version(draft_version("default", content, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    row = wildcard(portal, "*.apps.example.com")
    carol = look("carol")
    browser = carol.page.context.new_cdp_session(carol.page)
    browser.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    browser.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {**options, "isUserVerified": True, "automaticPresenceSimulation": True}},
    )
    carol.open(f"/requests/{row.public_id}/")
    expect(carol.page.get_by_text("Approving needs a second factor.")).to_be_visible()
    add_passkey(carol)
    carol.open(f"/requests/{row.public_id}/")
    assert carol.axe() == []
    carol.follow(carol.page.get_by_role("button", name="Approve with your passkey"))
    expect(carol.page.get_by_text("*.apps.example.com was approved.")).to_be_visible()
    evidence = ApprovalEvidence.objects.get()
    assert (evidence.factor, evidence.approval.digest) == ("passkey", row.digest)
    event = AuditEvent.objects.get(subject=row.subject, event="request:approved")
    assert event.data["confirmed_by"] == "passkey"


def wildcards(portal: Portal, count: int) -> BulkOrder:
    """An order of which every line waits for an approval."""
    texts = [f"Issue TLS certificate for *.n{number}.example.com with P-256" for number in range(count)]
    plans: list[Any] = [plan_words(text, requester=portal.requester()) for text in texts]
    order = submit_order(drafted([plan.specs[0] for plan in plans], portal.requester()), authority=portal.requester().authority)
    work_off_all()
    return order


def test_lines_of_an_order_are_decided_with_one_passkey_in_three_clicks(look: Visit, portal: Portal) -> None:
    now = database_now()
    content = DEFAULT_V2_3 | {"version": "v3", "approval": {"confirmation": "second_factor"}}
    publish_version(draft_version("default", content, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    order = wildcards(portal, 12)
    carol = look("carol")
    browser = carol.page.context.new_cdp_session(carol.page)
    browser.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    browser.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {**options, "isUserVerified": True, "automaticPresenceSimulation": True}},
    )
    add_passkey(carol)
    carol.open("/account/")
    carol.follow(carol.page.get_by_role("link", name="Inbox 1 waiting"))
    carol.follow(carol.page.get_by_role("link", name="Approve or reject lines of"))
    expect(carol.page.get_by_role("heading", name="Decide 12 lines together")).to_be_visible()
    assert carol.axe() == []
    carol.follow(carol.page.get_by_role("button", name="Approve 12 lines with your passkey"))
    expect(carol.page.get_by_text("12 lines were approved")).to_be_visible()
    assert ApprovalEvidence.objects.filter(factor="passkey", lines__order=order).count() == 12
    assert CertificateRequest.objects.filter(bulk_item__order=order, state="approved").count() == 12


def test_what_waits_is_decided_without_a_script(look: Visit, portal: Portal) -> None:
    first, second = wildcard(portal, "*.apps.example.com"), wildcard(portal, "*.example.com")
    order = wildcards(portal, 3)
    signed_in = look("carol")
    browser = signed_in.page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False, storage_state=signed_in.page.context.storage_state())
    carol = Visitor(context.new_page(), signed_in.base)
    page = carol.page
    carol.open("/inbox/")
    carol.follow(page.get_by_role("link", name="Approve or reject *.apps.example.com"))
    carol.follow(page.get_by_role("button", name="Approve", exact=True))
    expect(page.get_by_text("*.apps.example.com was approved.")).to_be_visible()
    # A rejection without a reason stays on its page, and is sent again with one.
    carol.follow(page.get_by_role("link", name="Approve or reject *.example.com"))
    carol.follow(page.get_by_role("button", name="Reject", exact=True))
    expect(page.get_by_text("A rejection needs a reason.")).to_be_visible()
    page.get_by_label("Comment").fill("Name the hosts.")
    carol.follow(page.get_by_role("button", name="Reject", exact=True))
    # Lines of an order, a group of them first.
    carol.follow(page.get_by_role("link", name="Approve or reject lines of"))
    carol.follow(page.get_by_role("link", name=re.compile("Only these.*: Wildcard")))
    page.get_by_label("Comment").fill("For the move.")
    carol.follow(page.get_by_role("button", name="Approve 3 lines"))
    expect(page.get_by_text("3 lines were approved")).to_be_visible()
    expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("approved", "rejected")
    assert CertificateRequest.objects.filter(bulk_item__order=order, state="approved").count() == 3
    assert carol.complaints == []
    context.close()


def add_passkey(visitor: Visitor) -> None:
    """Add a passkey on the account's page; the password is asked for again."""
    visitor.open("/account/security/passkey/")
    if visitor.page.get_by_label("Password").count():
        visitor.page.get_by_label("Password").fill("correct horse battery")
        visitor.follow(visitor.page.get_by_role("button", name="Go on"))
    visitor.page.get_by_label("Name").fill("Laptop")
    visitor.follow(visitor.page.get_by_role("button", name="Add the passkey"))


def test_domain_requests_and_approvals_fit_on_a_phone(look: Visit, portal: Portal) -> None:
    row = wildcard(portal, "*.a-very-long-name-of-a-service-somewhere.department.example.com")
    asked = ask_for_domain(f"{'a-long-name.' * 9}example.net", why="We run it. " * 40, requester=portal.requester())
    order = wildcards(portal, 2)
    carol, widths = look("carol", width=390, height=800), {}
    for path in (
        f"/bulk/{order.public_id}/decide/",
        "/inbox/",
        "/inbox/deputy/",
        f"/requests/{row.public_id}/",
        f"/domain-requests/{asked.public_id}/",
    ):
        carol.open(path)
        widths[path] = (carol.width(), carol.axe())
    assert {path: found for path, found in widths.items() if found != (390, [])} == {}
