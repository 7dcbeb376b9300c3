"""The journeys of a requester after the first certificate, from the home page, by texts of the pages alone."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from playwright.sync_api import expect

from certs.models import BulkOrder, Certificate, CertificateRequest, PlannedRevocation
from certs.renewal.planned_revocation import revoke_replaced
from tests.certs.api.test_issue import Api, pem_csr
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]


def wait_for_certificate_of(request: CertificateRequest) -> Certificate:
    for _ in range(100):
        found = Certificate.objects.filter(request=request, request__state="completed").first()
        if found is not None:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{request.public_id} has no certificate")


def test_find_renew_install_and_revoke(visit: Visit, portal: Portal) -> None:
    """Journey R4."""
    for name in ("a.shop.example.com", "shop.example.com"):
        assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr(name)})[0] == 200
    old = Certificate.objects.get(common_name="shop.example.com")
    alice = visit()
    # Find: by the key of the search field, from any page.
    alice.page.keyboard.press("/")
    alice.page.keyboard.type("shop.example.com")
    with alice.page.expect_navigation():
        alice.page.keyboard.press("Enter")
    alice.follow(alice.page.get_by_role("link", name="shop.example.com", exact=True))
    expect(alice.page.get_by_role("heading", name="shop.example.com", exact=True)).to_be_visible()
    # Renew with the key that the server has.
    alice.follow(alice.page.get_by_role("link", name="Renew", exact=True))
    expect(alice.page.get_by_role("link", name="Keep the key")).to_have_attribute("aria-current", "true")
    alice.follow(alice.page.get_by_role("button", name="Renew certificate"))
    wait_for_certificate_of(CertificateRequest.objects.get(renewed_from=old))
    new = Certificate.objects.get(renewed_from=old)
    # Install: the old page leads to the files of the new one.
    alice.open(f"/certificates/{old.cert_id}/")
    alice.follow(alice.page.get_by_role("link", name="Install the new certificate"))
    with alice.page.expect_download() as downloading:
        alice.page.get_by_role("link", name="Download shop.example.com-fullchain.pem").click()
    leaf, *_ = x509.load_pem_x509_certificates(Path(downloading.value.path()).read_bytes())
    assert f"{leaf.serial_number:x}" == new.serial_number
    # Revoke for a theft: replaced with a new key first, and the old one with it, which is on the same key.
    alice.follow(alice.page.get_by_role("link", name="Revoke", exact=True))
    alice.follow(alice.page.get_by_role("link", name="The key may be in other hands"))
    expect(alice.page.get_by_label(old.cert_id)).to_be_checked()
    alice.page.get_by_label("or paste the CSR").fill(pem_csr("shop.example.com"))
    alice.follow(alice.page.get_by_role("button", name="Replace with a new key, then revoke"))
    expect(alice.page.get_by_text("This is the replacement.")).to_be_visible()
    plan = PlannedRevocation.objects.get()
    replacement = wait_for_certificate_of(plan.replacement)
    revoke_replaced()
    status = dict(Certificate.objects.values_list("cert_id", "status"))
    assert (status[replacement.cert_id], status[new.cert_id] != "good", status[old.cert_id] != "good") == ("good", True, True)


def test_fifty_rows_with_two_mistakes(visit: Visit) -> None:
    """Journey R5: an own table, one typo and one key type that does not exist."""
    rows = [f"app-{number}.example.com;Ann;P-256" for number in range(1, 49)]
    rows += ["app-49.exmaple.com;Ann;P-256", "app-50.example.com;Ann;banana"]
    table = "\n".join(["Server;Ansprechpartner;Schluessel", *rows])
    alice = visit()
    alice.follow(alice.page.get_by_role("link", name="Many at once"))
    alice.follow(alice.page.get_by_role("link", name="In the portal's key store"))
    alice.follow(alice.page.get_by_role("link", name="Upload a table"))
    alice.page.get_by_label("File (CSV, XLSX, zip or PEM)").set_input_files(
        {"name": "servers.csv", "mimeType": "text/csv", "buffer": table.encode()}
    )
    alice.page.get_by_role("button", name="Show what would be issued").click()
    expect(alice.page.get_by_text("What do the columns of your table mean?")).to_be_visible()
    assert alice.axe() == []
    alice.page.get_by_label("Meaning of Server").select_option(label="Name")
    alice.page.get_by_label("Meaning of Schluessel").select_option(label="Key type")
    # The file is still chosen: the question came into the form.
    alice.follow(alice.page.get_by_role("button", name="Show what would be issued"))
    expect(alice.page.get_by_text("2 of 50 lines cannot be issued.")).to_be_visible()
    for row, field, value in (("row 50", "Name", "app-49.example.com"), ("row 51", "Key type", "P-256")):
        alice.follow(alice.page.get_by_role("link", name=f"Correct {row}"))
        assert alice.axe() == []
        alice.page.get_by_label(field, exact=True).fill(value)
        alice.follow(alice.page.get_by_role("button", name="Save the line"))
    alice.page.get_by_role("button", name="Issue all 50").click()
    expect(alice.page.locator("#live").get_by_text("50 of 50 issued")).to_be_visible(timeout=60_000)
    expect(alice.page.get_by_text("It holds no private key")).to_be_visible()
    with alice.page.expect_download() as downloading:
        alice.page.get_by_role("link", name="Certificates and chains (ZIP)").click()
    with zipfile.ZipFile(io.BytesIO(Path(downloading.value.path()).read_bytes())) as archive:
        assert len(archive.namelist()) == 52
        assert "50 private keys: in the key store" in archive.read("README.txt").decode()
    assert BulkOrder.objects.get().items.filter(outcome="allow").count() == 50
