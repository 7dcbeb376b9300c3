"""A certificate's later life in the browser: renewed, revoked with all on its key, held and released; in words too."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from playwright.sync_api import expect

from certs.models import Certificate, CertificateRequest, OperatorAlert
from certs.revocation.deliver import process_revocations
from tests.certs.api.test_issue import pem_csr
from tests.certs.life import new_policy
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
Status = Certificate.Status


@pytest.fixture
def alice(visit: Visit) -> Visitor:
    """Has a certificate, and its page open."""
    visitor = visit()
    issue(visitor, "Issue TLS certificate for api.example.com with P-256, 90 days")
    return visitor


def issue(visitor: Visitor, sentence: str) -> None:
    visitor.plan(sentence)
    visitor.page.get_by_role("button", name="Get the certificate").click()
    expect(visitor.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    visitor.follow(visitor.page.get_by_role("link", name="cert-").first)


def revoke_because(visitor: Visitor, cause: str) -> None:
    """From the certificate's page to the page that says what the revocation means."""
    visitor.follow(visitor.page.get_by_role("link", name="Revoke", exact=True))
    visitor.follow(visitor.page.get_by_role("link", name=cause))


def renew(visitor: Visitor) -> None:
    visitor.page.get_by_role("link", name="Renew", exact=True).click()
    visitor.page.get_by_role("button", name="Renew certificate").click()
    expect(visitor.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)


def test_renewal_shows_its_plan_and_links_old_and_new(alice: Visitor) -> None:
    old = Certificate.objects.get()
    alice.page.get_by_role("link", name="Renew", exact=True).click()
    expect(alice.page.get_by_role("row", name="Key ECDSA P-256, in the key store as before")).to_be_visible()
    assert Certificate.objects.count() == 1
    alice.page.get_by_role("button", name="Renew certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    expect(alice.page.get_by_text("used again from the key store")).to_be_visible()
    new = Certificate.objects.get(renewed_from=old)
    alice.open(f"/certificates/{old.cert_id}/")
    expect(alice.page.get_by_text(f"Renewed: replaced by {new.cert_id}")).to_be_visible()
    expect(alice.page.get_by_role("link", name="Renew", exact=True)).to_have_count(0)
    alice.follow(alice.page.get_by_role("link", name="Renewals"))
    expect(alice.page.get_by_role("heading", name="Lineage")).to_be_visible()
    expect(alice.page.get_by_text("Same key")).to_be_visible()
    alice.open(f"/certificates/{old.cert_id}/renew/")
    expect(alice.page.get_by_text("It is renewed already.")).to_be_visible()


def test_renewal_with_a_new_key_is_said_and_done(alice: Visitor) -> None:
    alice.page.get_by_role("link", name="Renew", exact=True).click()
    alice.follow(alice.page.get_by_role("link", name="New key The portal makes it"))
    expect(alice.page.get_by_text("new ECDSA P-256, in the key store")).to_be_visible()
    alice.page.get_by_role("button", name="Renew certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    assert Certificate.objects.values_list("spki_sha256", flat=True).distinct().count() == 2


def test_renewal_that_the_policy_refuses_says_why_and_offers_no_button(alice: Visitor) -> None:
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    alice.page.get_by_role("link", name="Renew", exact=True).click()
    expect(alice.page.get_by_role("alert").get_by_text("Curve P-256 is not allowed")).to_be_visible()
    expect(alice.page.get_by_role("button", name="Renew certificate")).to_have_count(0)


def test_revocation_asks_for_a_reason_and_is_done(alice: Visitor) -> None:
    revoke_because(alice, "It is not needed any more")
    expect(alice.page.get_by_text("There is no way back")).to_be_visible()
    assert Certificate.objects.get().status == Status.GOOD
    alice.page.get_by_label("Comment").fill("The service was switched off.")
    alice.page.get_by_role("button", name="Revoke certificate").click()
    expect(alice.page.get_by_text("The certificate is revoked.")).to_be_visible()
    expect(alice.page.get_by_text("Reason: cessationOfOperation")).to_be_visible()
    expect(alice.page.get_by_text("The service was switched off.")).to_be_visible()
    alice.open(f"/certificates/{Certificate.objects.get().cert_id}/install/")
    expect(alice.page.get_by_text("A revoked certificate has no files.")).to_be_visible()
    expect(alice.page.get_by_role("link", name="fullchain.pem")).to_have_count(0)
    expect(alice.page.get_by_role("link", name="Renew", exact=True)).to_have_count(0)


def test_compromise_offers_all_certificates_on_the_key_preselected(alice: Visitor) -> None:
    old = Certificate.objects.get()
    renew(alice)
    new = Certificate.objects.get(renewed_from=old)
    alice.open(f"/certificates/{old.cert_id}/")
    revoke_because(alice, "The key may be in other hands")
    expect(alice.page.get_by_label(new.cert_id)).to_be_checked()
    alice.page.get_by_label("Destroy the key").check()
    alice.page.get_by_role("button", name="Revoke now").click()
    expect(alice.page.get_by_text("2 certificates are revoked")).to_be_visible()
    expect(alice.page.get_by_text("The public key is refused from now on")).to_be_visible()
    expect(alice.page.get_by_text("The key is being destroyed")).to_be_visible()
    assert not Certificate.objects.filter(status=Status.GOOD).exists()


def test_hold_is_released_on_its_page(alice: Visitor) -> None:
    revoke_because(alice, "Just for now")
    alice.follow(alice.page.get_by_role("button", name="Put certificate on hold"))
    certificate = Certificate.objects.get()
    wait_for(certificate, Status.REVOKED)
    alice.page.reload()
    alice.page.get_by_role("link", name="Release from hold").click()
    alice.follow(alice.page.get_by_role("button", name="Release certificate"))
    wait_for(certificate, Status.GOOD)
    alice.page.reload()
    alice.follow(alice.page.get_by_role("link", name="Install"))
    expect(alice.page.get_by_role("link", name="fullchain.pem")).to_be_visible()


def wait_for(certificate: Certificate, status: str) -> None:
    for _ in range(100):
        process_revocations()
        certificate.refresh_from_db()
        if certificate.status == status:
            return
    raise AssertionError(f"{certificate.cert_id} is {certificate.status}")


def test_words_lead_to_the_page_that_shows_what_they_mean(alice: Visitor) -> None:
    certificate = Certificate.objects.get()
    alice.ask(f"Renew {certificate.cert_id} with a new key")
    expect(alice.page.get_by_text("new ECDSA P-256, in the key store")).to_be_visible()
    alice.ask(f"Revoke certificate {certificate.cert_id} - reason: key compromise, and destroy the key")
    expect(alice.page.get_by_text("The key may be in other hands (keyCompromise)")).to_be_visible()
    expect(alice.page.get_by_label("Destroy the key")).to_be_checked()
    alice.ask(f"Revoke serial 0x{certificate.serial_number}, superseded")
    expect(alice.page.get_by_text("It was replaced (superseded)")).to_be_visible()
    alice.ask("Revoke cert-5678 - reason: key compromise")
    expect(alice.page.get_by_text("There is no certificate cert-5678 that you may see.")).to_be_visible()
    assert (Certificate.objects.get().status, CertificateRequest.objects.count()) == (Status.GOOD, 1)


def test_others_see_no_buttons_and_get_404(alice: Visitor, visit: Visit, portal: Portal) -> None:
    certificate = Certificate.objects.get()
    paths = [f"/certificates/{certificate.cert_id}/{what}/" for what in ("renew", "revoke", "release")]
    bob = visit("bob")
    assert [bob.page.request.get(bob.base + path).status for path in paths] == [404, 404, 404]
    bob.ask(f"Revoke {certificate.cert_id} - superseded")
    expect(bob.page.get_by_text("that you may see")).to_be_visible()
    carol = visit("carol")
    carol.open(f"/certificates/{certificate.cert_id}/")
    expect(carol.page.get_by_role("link", name="Revoke")).to_be_visible()
    assert OperatorAlert.objects.count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_accessibility_fault_and_fit_a_phone(visit: Visit, dark: bool) -> None:
    alice = visit(dark=dark, width=360, height=740)
    issue(alice, "Issue TLS certificate for a-long-name.department.example.com with P-256, 90 days")
    old = Certificate.objects.get()
    renew(alice)
    new = Certificate.objects.get(renewed_from=old)
    faults: dict[str, list[str]] = {}
    widths: dict[str, int] = {}

    def look(name: str, path: str) -> None:
        alice.open(path)
        faults[name], widths[name] = alice.axe(), alice.width()

    look("superseded", f"/certificates/{old.cert_id}/")
    look("renew", f"/certificates/{new.cert_id}/renew/")
    look("renewed already", f"/certificates/{old.cert_id}/renew/")
    look("revoke", f"/certificates/{new.cert_id}/revoke/?reason=keyCompromise")
    look("why", f"/certificates/{new.cert_id}/revoke/")
    for tab in ("install", "renewals", "history", "technical"):
        look(tab, f"/certificates/{new.cert_id}/{tab}/")
    alice.page.get_by_role("link", name="Revoke", exact=True).click()
    alice.follow(alice.page.get_by_role("link", name="Just for now"))
    alice.follow(alice.page.get_by_role("button", name="Put certificate on hold"))
    look("pending or revoked", f"/certificates/{new.cert_id}/")
    wait_for(new, Status.REVOKED)
    look("held", f"/certificates/{new.cert_id}/")
    look("release", f"/certificates/{new.cert_id}/release/")
    assert {name: found for name, found in faults.items() if found} == {}
    assert {name: width for name, width in widths.items() if width > 360} == {}


def test_keyboard_alone_revokes(alice: Visitor) -> None:
    certificate = Certificate.objects.get()
    alice.open(f"/certificates/{certificate.cert_id}/revoke/")
    alice.page.get_by_role("link", name="It was replaced").focus()
    alice.page.keyboard.press("Enter")
    alice.page.wait_for_url("**reason=superseded")
    alice.page.get_by_label("Comment").focus()
    for _ in range(5):
        alice.page.keyboard.press("Tab")
        if alice.page.evaluate("document.activeElement.textContent").strip() == "Revoke certificate":
            break
    alice.page.keyboard.press("Enter")
    expect(alice.page.get_by_text("The certificate is revoked.")).to_be_visible()


def test_owner_of_a_brought_key_proves_the_compromise_on_the_page(visit: Visit) -> None:
    key, alice = ec.generate_private_key(ec.SECP256R1()), visit(width=360, height=740)
    alice.open("/new/csr/")
    alice.page.get_by_label("or paste its text").fill(pem_csr("own.example.com", key=key))
    alice.page.get_by_role("button", name="Show the plan").click()
    alice.page.get_by_role("button", name="Get the certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    alice.open(f"/certificates/{Certificate.objects.get().cert_id}/revoke/?reason=keyCompromise")
    alice.page.get_by_text("prove that you have the private key").click()
    assert alice.axe() == []
    assert alice.width() <= 360
    alice.page.get_by_label("Signature").fill("nonsense")
    alice.page.get_by_role("button", name="Revoke now").click()
    expect(alice.page.get_by_role("alert").get_by_text("The signature is not one by this certificate's key.")).to_be_visible()
    alice.page.get_by_text("prove that you have the private key").click()
    challenge = alice.page.get_by_label("The text to sign").inner_text()
    signature = key.sign(challenge.encode(), ec.ECDSA(SHA256()))
    alice.page.get_by_label("Signature").fill(base64.b64encode(signature).decode())
    alice.page.get_by_role("button", name="Revoke now").click()
    expect(alice.page.get_by_text("The public key is refused from now on")).to_be_visible()
