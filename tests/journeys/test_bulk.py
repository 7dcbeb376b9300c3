"""Bulk orders in a browser: from words or a file to a ZIP of certificates, and everything that may go wrong on the way."""

from __future__ import annotations

import csv
import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from playwright.sync_api import expect

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.control import pause
from certs.bulk.drafting.draft import draft, lines_of
from certs.bulk.submit import submit_order
from certs.models import BulkOrder, Certificate, CertificateRequest
from certs.requests.plan import plan_words
from tests.certs.api.test_issue import pem_csr
from tests.certs.x509.csr.test_pasted_secrets import SECRETS
from tests.journeys.conftest import Visitor
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
WORDS = "Issue certificates for api-1 through api-3, all P-256, 30 days"


def order_in_words(visitor: Visitor, text: str) -> None:
    visitor.open("/bulk/new/?keys=store")
    visitor.page.get_by_label("Your order in words").fill(text)
    visitor.follow(visitor.page.get_by_role("button", name="Show what would be issued"))


def drafted(portal: Portal, text: str) -> BulkOrder:
    plan = plan_words(text, requester=portal.requester())
    return draft(lines_of(plan), requester=portal.requester(), title=text)  # type: ignore[arg-type]


def test_words_become_a_draft_then_certificates_then_a_zip(visit: Visit) -> None:
    alice = visit()
    order_in_words(alice, WORDS)
    expect(alice.page.get_by_role("heading", name="Draft: 3 certificates")).to_be_visible()
    expect(alice.page.get_by_text("Nothing has been made yet")).to_be_visible()
    expect(alice.page.get_by_text("Completed with the default domain example.com")).to_be_visible()
    assert CertificateRequest.objects.count() == 0
    alice.page.get_by_role("button", name="Issue all 3").click()
    expect(alice.page.get_by_role("link", name="Certificates and chains (ZIP)")).to_have_class("btn btn-primary", timeout=30_000)
    expect(alice.page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    with alice.page.expect_download() as downloading:
        alice.page.get_by_role("link", name="Certificates and chains (ZIP)").click()
    with zipfile.ZipFile(Path(downloading.value.path())) as archive:
        names = [f"0000{n}-api-{n}.example.com.pem" for n in (1, 2, 3)]
        assert archive.namelist() == [*names, "README.txt", "root.pem"]
        assert "No private key is in this file." in archive.read("README.txt").decode()
        leaf, *links = x509.load_pem_x509_certificates(archive.read("00002-api-2.example.com.pem"))
    leaf.verify_directly_issued_by(links[0])
    with alice.page.expect_download() as downloading:
        alice.page.get_by_role("link", name="Inventory (CSV)").click()
    rows = list(csv.DictReader(io.StringIO(Path(downloading.value.path()).read_text())))
    assert [row["cert_id"] for row in rows] == list(
        Certificate.objects.order_by("request__bulk_item__number").values_list("cert_id", flat=True)
    )
    downloads = AuditEvent.objects.filter(event="certificate:downloaded").order_by("pk").values_list("subject", "data")
    assert list(downloads) == [
        (BulkOrder.objects.get().subject, {"form": form, "certificates": 3}) for form in ("certificates.zip", "inventory.csv")
    ]
    alice.open(f"/certificates/{rows[0]['cert_id']}/history/")
    expect(alice.page.get_by_text("with the other certificates of its order")).to_have_count(2)


def test_several_certificates_said_on_the_first_page_are_asked_where_their_keys_will_be(visit: Visit) -> None:
    alice = visit()
    alice.ask(WORDS)
    expect(alice.page.get_by_role("heading", name="Where will the private keys be?")).to_be_visible()
    expect(alice.page.get_by_text(WORDS)).to_be_visible()
    assert BulkOrder.objects.count() == 0
    alice.page.reload()
    alice.follow(alice.page.get_by_role("link", name="In the portal's key store"))
    expect(alice.page.get_by_label("Your order in words")).to_have_value(WORDS)
    alice.follow(alice.page.get_by_role("button", name="Show what would be issued"))
    expect(alice.page.get_by_role("heading", name="Draft: 3 certificates")).to_be_visible()
    expect(alice.page.get_by_text("The portal makes the keys in its key store, where they stay")).to_be_visible()
    assert BulkOrder.objects.get().state == "draft"


def test_several_certificates_in_the_vault_become_a_draft_at_once(visit: Visit) -> None:
    alice = visit()
    alice.ask(f"{WORDS}, in the vault")
    expect(alice.page.get_by_role("heading", name="Draft: 3 certificates")).to_be_visible()


def test_several_certificates_on_servers_get_the_command_whose_csrs_are_issued(visit: Visit, portal: Portal, tmp_path: Path) -> None:
    alice = visit()
    alice.ask("Certificates for api-1 through api-3 on nginx")
    assert alice.axe() == []
    command = alice.page.get_by_label("Command for Linux, macOS (openssl)").inner_text()
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / "csrs.zip", "w") as packed:
        for path in tmp_path.glob("*.csr"):
            packed.write(path, path.name)
    alice.page.get_by_label("File (CSV, XLSX, zip or PEM)").set_input_files(tmp_path / "csrs.zip")
    alice.follow(alice.page.get_by_role("button", name="Show what would be issued"))
    alice.follow(alice.page.get_by_role("button", name="Issue all 3"))
    expect(alice.page.locator("#live").get_by_text("3 of 3 issued")).to_be_visible(timeout=30_000)
    found = {row.common_name for row in Certificate.objects.filter(key=None)}
    assert found == {f"api-{number}.example.com" for number in (1, 2, 3)}


def test_refused_lines_say_why_and_one_click_mends_one_or_all(visit: Visit) -> None:
    alice = visit()
    order_in_words(alice, "Issue certificates for api-1 through api-3, all RSA 2048, 30 days")
    expect(alice.page.get_by_text("3 of 3 lines cannot be issued")).to_be_visible()
    expect(alice.page.get_by_text("Key size 2048 below minimum 3072").first).to_be_visible()
    expect(alice.page.get_by_role("button", name="Issue")).to_have_count(0)
    alice.page.get_by_role("button", name="Apply the suggestion to certificate 2").click()
    expect(alice.page.get_by_text("2 of 3 lines cannot be issued")).to_be_visible()
    expect(alice.page.get_by_role("button", name="Issue only the 1 that pass")).to_be_visible()
    alice.page.get_by_role("link", name="Refused 2").click()
    expect(alice.page.get_by_role("row")).to_have_count(3)
    alice.page.get_by_role("button", name="Apply all suggestions").click()
    expect(alice.page.get_by_role("button", name="Issue all 3")).to_be_visible()
    assert {row.spec["key"] for row in BulkOrder.objects.get().items.all()} == {"rsa-3072"}  # type: ignore[index]


def test_good_lines_alone_or_all_with_the_refusals_on_record(visit: Visit, portal: Portal) -> None:
    alice = visit()
    mixed = "Issue certificates for a.example.com and b.other.test, P-256, 30 days"
    order_in_words(alice, mixed)
    alice.page.get_by_role("button", name="Issue only the 1 that pass").click()
    expect(alice.page.locator("#live").get_by_text("1 of 2 issued")).to_be_visible(timeout=30_000)
    alice.page.get_by_role("link", name="Left out 1").click()
    expect(alice.page.get_by_role("cell", name="left out")).to_be_visible()
    order_in_words(alice, mixed)
    alice.page.get_by_role("button", name="Submit all, refusals on record").click()
    expect(alice.page.locator("#live").get_by_text("1 of 2 issued")).to_be_visible(timeout=30_000)
    expect(alice.page.get_by_role("row", name="certificate 2")).to_contain_text("refused", timeout=30_000)
    assert CertificateRequest.objects.filter(state="rejected").count() == 1


def test_duplicates_are_pointed_out(visit: Visit) -> None:
    alice = visit()
    order_in_words(alice, WORDS)
    alice.page.get_by_role("button", name="Issue all 3").click()
    expect(alice.page.locator("#live").get_by_text("3 of 3 issued")).to_be_visible(timeout=30_000)
    order_in_words(alice, WORDS)
    expect(alice.page.get_by_text("has the same names and is valid")).to_have_count(3)
    alice.page.get_by_role("link", name="Duplicates 3").click()
    expect(alice.page.get_by_role("row")).to_have_count(4)


def test_thrown_away_draft_cannot_be_submitted(visit: Visit) -> None:
    alice = visit()
    order_in_words(alice, WORDS)
    alice.page.get_by_text("Throw away").click()
    alice.page.get_by_role("button", name="Yes, throw it away").click()
    expect(alice.page.get_by_text("It was thrown away; nothing was made")).to_be_visible()
    expect(alice.page.get_by_role("button", name="Issue all 3")).to_have_count(0)


def test_paused_order_says_why_it_waits_and_goes_on_by_one_click(visit: Visit, portal: Portal) -> None:
    order = drafted(portal, WORDS)
    order = pause(submit_order(order, authority=Authority(SYSTEM)), authority=Authority(Actor("user", "alice"), portal.alice))
    alice = visit()
    alice.open(f"/bulk/{order.public_id}/")
    expect(alice.page.locator("#live").get_by_text("It is paused")).to_be_visible()
    alice.page.get_by_role("button", name="Resume").click()
    expect(alice.page.locator("#live").get_by_text("3 of 3 issued")).to_be_visible(timeout=30_000)


def test_bars_page_moves_by_itself_and_keeps_the_focus(visit: Visit, portal: Portal) -> None:
    order = drafted(portal, WORDS)
    order = pause(submit_order(order, authority=Authority(SYSTEM)), authority=Authority(Actor("user", "alice"), portal.alice))
    alice = visit()
    alice.open(f"/bulk/{order.public_id}/?show=all")
    alice.page.locator("#tab-all").focus()
    other = visit()
    other.open(f"/bulk/{order.public_id}/")
    other.page.get_by_role("button", name="Resume").click()
    expect(alice.page.locator("#live").get_by_text("3 of 3 issued")).to_be_visible(timeout=40_000)
    expect(alice.page.locator("#order-said")).to_contain_text("The order has ended: 3 of 3 issued", timeout=15_000)
    expect(alice.page.get_by_role("cell", name="issued")).to_have_count(3)
    expect(alice.page.locator("#tab-all")).to_be_focused()
    assert alice.page.evaluate("document.querySelector('#live').hasAttribute('hx-get')") is False


@pytest.mark.parametrize("first", ["the filter", "a refresh"])
def test_chosen_filter_is_kept_whatever_answer_comes_late(look: Visit, portal: Portal, first: str) -> None:
    order = pause(submit_order(drafted(portal, WORDS), authority=Authority(SYSTEM)), authority=Authority(SYSTEM))
    alice, held, asked = look(), [], []
    alice.open(f"/bulk/{order.public_id}/")
    expect(alice.page.get_by_text("No line is in trouble")).to_be_visible()
    alice.page.on("request", lambda request: asked.append(request.url.partition("/lines/?")[2]) if "/lines/?" in request.url else None)
    alice.page.route("**/lines/?*", lambda route: held.append(route), times=1)  # noqa: PLW0108 - a builtin takes no attributes
    steps = (alice.page.locator("#tab-all").click, lambda: alice.page.evaluate("htmx.trigger(document.body, 'order-moved')"))
    for step in steps if first == "the filter" else reversed(steps):
        step()
    alice.page.wait_for_timeout(100)
    held[0].continue_()
    expect(alice.page.get_by_role("cell", name="not begun")).to_have_count(3)
    alice.page.wait_for_load_state("networkidle")
    expect(alice.page.get_by_role("cell", name="not begun")).to_have_count(3)
    assert [url.partition("&")[0] for url in asked] == (["show=all"] * 2 if first == "the filter" else ["show=problems", "show=all"])


def test_rest_of_an_order_is_cancelled_and_it_ends_at_once(visit: Visit, portal: Portal, settings: Any) -> None:
    settings.PKI_BULK_IN_FLIGHT = 0  # nothing begins before it is paused
    order = pause(submit_order(drafted(portal, WORDS), authority=Authority(SYSTEM)), authority=Authority(SYSTEM))
    alice = visit()
    alice.open(f"/bulk/{order.public_id}/")
    alice.page.get_by_text("Cancel the rest", exact=True).click()
    alice.page.get_by_role("button", name="Yes, cancel the rest").click()
    expect(alice.page.locator("#live").get_by_text("cancelled", exact=True)).to_be_visible()
    expect(alice.page.locator("#live:not([hx-get])")).to_be_visible(timeout=30_000)
    order.refresh_from_db()
    assert (order.state, order.finished_at is not None, CertificateRequest.objects.count()) == ("cancelled", True, 0)


def test_double_click_submits_one_order_once(visit: Visit, portal: Portal) -> None:
    order = drafted(portal, WORDS)
    alice = visit()
    alice.open(f"/bulk/{order.public_id}/")
    csrf = str(alice.page.locator("form[data-once] input[name=csrfmiddlewaretoken]").first.get_attribute("value"))
    for _ in range(3):
        answer = alice.page.request.post(
            f"{alice.base}/bulk/{order.public_id}/submit/", form={"csrfmiddlewaretoken": csrf}, headers={"Referer": alice.base}
        )
        assert answer.url == f"{alice.base}/bulk/{order.public_id}/"
    alice.open(f"/bulk/{order.public_id}/")
    expect(alice.page.locator("#live").get_by_text("3 of 3 issued")).to_be_visible(timeout=30_000)
    assert (CertificateRequest.objects.count(), AuditEvent.objects.filter(event="bulk:submitted").count()) == (3, 1)


def test_auditor_looks_and_outsider_sees_nothing(visit: Visit, portal: Portal) -> None:
    order = drafted(portal, WORDS)
    bob = visit("bob")
    paths = ("", "lines/", "certificates.zip", "inventory.csv", "problems.csv")
    assert [bob.page.request.get(f"{bob.base}/bulk/{order.public_id}/{path}").status for path in paths] == [404] * len(paths)
    portal.bob.groups.add(Group.objects.get(name="auditors"))
    bob.open(f"/bulk/{order.public_id}/")
    expect(bob.page.get_by_text("Only members of team Web and the security team may submit it")).to_be_visible()
    expect(bob.page.get_by_role("button", name="Issue all 3")).to_have_count(0)
    csrf = str(bob.page.locator("input[name=csrfmiddlewaretoken]").first.get_attribute("value"))
    for path in ("submit/", "suggestions/", "act/cancel/", "act/pause/"):
        answer = bob.page.request.post(
            f"{bob.base}/bulk/{order.public_id}/{path}", form={"csrfmiddlewaretoken": csrf}, headers={"Referer": bob.base}
        )
        assert (path, answer.status) == (path, 403)
    order.refresh_from_db()
    assert order.state == "draft"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_have_no_accessibility_fault(visit: Visit, portal: Portal, dark: bool) -> None:
    refused = drafted(portal, "Issue certificates for a.example.com, b.other.test and *.c.example.com, P-256, 30 days")
    paused = pause(submit_order(drafted(portal, WORDS), authority=Authority(SYSTEM)), authority=Authority(SYSTEM))
    alice, faults = visit(dark=dark), {}
    for path in (
        "/bulk/",
        "/bulk/new/",
        f"/bulk/{refused.public_id}/",
        f"/bulk/{paused.public_id}/",
        f"/bulk/{paused.public_id}/?show=all",
    ):
        alice.open(path)
        faults[path] = alice.axe()
    order_in_words(alice, "nonsense")
    faults["error"] = alice.axe()
    order_in_words(alice, WORDS)
    alice.page.get_by_role("button", name="Issue all 3").click()
    expect(alice.page.locator("#live").get_by_text("3 of 3 issued")).to_be_visible(timeout=30_000)
    faults["done"] = alice.axe()
    assert {path: found for path, found in faults.items() if found} == {}


def test_phone_of_360_pixels_scrolls_in_one_direction(visit: Visit, portal: Portal) -> None:
    long = "a-very-long-name-of-a-service-somewhere.department.example.com"
    refused = drafted(portal, f"Issue certificates for {long}, b.other.test and *.c.example.com, P-256, 30 days")
    paused = pause(submit_order(drafted(portal, WORDS), authority=Authority(SYSTEM)), authority=Authority(SYSTEM))
    alice, widths = visit(width=360, height=740), {}
    for path in ("/bulk/", "/bulk/new/", f"/bulk/{refused.public_id}/", f"/bulk/{paused.public_id}/?show=all"):
        alice.open(path)
        widths[path] = alice.width()
    assert {path: width for path, width in widths.items() if width > 360} == {}


def upload(visitor: Visitor, name: str, content: bytes) -> None:
    visitor.open("/bulk/new/?via=file")
    visitor.page.get_by_label("File (CSV, XLSX, zip or PEM)").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )
    visitor.follow(visitor.page.get_by_role("button", name="Show what would be issued"))


def test_uploaded_table_is_judged_line_by_line(visit: Visit) -> None:
    alice = visit()
    table = "name,sans,key,validity_days,owner\na,www.a.example.com,P-256,30,\nb,,RSA 2048,30,\nc,,banana,30,\nd,,P-256,30,other\n"
    upload(alice, "wanted.csv", table.encode())
    expect(alice.page.get_by_text("3 of 4 lines cannot be issued.")).to_be_visible()
    expect(alice.page.get_by_role("row", name="row 4")).to_contain_text("banana")
    expect(alice.page.get_by_role("row", name="row 5")).to_contain_text("you are not a member of a team other")
    expect(alice.page.get_by_role("row", name="row 2")).to_contain_text("www.a.example.com")
    alice.page.get_by_role("button", name="Issue only the 1 that pass").click()
    expect(alice.page.locator("#live").get_by_text("1 of 4 issued")).to_be_visible(timeout=30_000)
    expect(alice.page.get_by_role("link", name="Left out 3")).to_be_visible()


def test_template_can_be_downloaded_filled_in_and_uploaded(visit: Visit) -> None:
    alice = visit()
    alice.open("/bulk/new/?via=file")
    for form in ("CSV", "XLSX"):
        with alice.page.expect_download() as downloading:
            alice.page.get_by_role("link", name=form, exact=True).click()
        upload(alice, f"certificates.{form.lower()}", Path(downloading.value.path()).read_bytes())
        expect(alice.page.get_by_role("heading", name="Draft: 1 certificate")).to_be_visible()
        expect(alice.page.get_by_role("cell", name="api.example.com www.example.com")).to_be_visible()
        alice.open("/bulk/new/?via=file")


def test_pasted_csrs_are_issued_with_their_own_keys(visit: Visit) -> None:
    alice = visit()
    alice.open("/bulk/new/?via=csrs")
    alice.page.get_by_label("CSRs in PEM").fill(pem_csr("own-1.example.com") + pem_csr("own-2.example.com"))
    alice.follow(alice.page.get_by_role("button", name="Show what would be issued"))
    alice.page.get_by_role("button", name="Issue all 2").click()
    expect(alice.page.locator("#live").get_by_text("2 of 2 issued")).to_be_visible(timeout=30_000)
    assert [certificate.key for certificate in Certificate.objects.all()] == [None, None]


@pytest.mark.parametrize("via", ["file", "csrs"])
def test_private_key_among_csrs_refuses_all_and_comes_back_to_nobody(portal: Portal, via: str) -> None:
    secret = SECRETS["pkcs8"][0]
    content = pem_csr("own-1.example.com").encode() + secret
    given = {"file": SimpleUploadedFile("wanted.pem", content)} if via == "file" else {"csrs": content.decode()}
    response = signed_in("alice").post("/bulk/new/", {"via": via, "team": "web", **given})
    assert (response.status_code, BulkOrder.objects.count()) == (422, 0)
    assert secret.decode().splitlines()[1] not in response.content.decode()
    assert AuditEvent.objects.filter(event="secret:refused").count() == 1


@pytest.mark.parametrize(
    "given",
    [
        {"via": "words", "text": ""},
        {"via": "words", "text": "Renew cert-5678"},
        {"via": "file"},
        {"via": "csrs", "csrs": ""},
        {"via": "csrs", "csrs": "nonsense"},
        {"via": "nope"},
        {"via": "file", "file": b""},
        {"via": "file", "file": b"%PDF-1.4"},
        {"via": "file", "file": b"PK\x03\x04broken"},
        {"via": "words", "text": WORDS, "team": "other"},
    ],
    ids=str,
)
def test_nonsense_is_refused_with_a_reason(portal: Portal, given: dict[str, Any]) -> None:
    body = {"team": "web"} | {name: SimpleUploadedFile("x", value) if isinstance(value, bytes) else value for name, value in given.items()}
    response = signed_in("alice").post("/bulk/new/", body)
    assert response.status_code == (404 if given.get("team") else 422)
    assert BulkOrder.objects.count() == 0


def test_order_beyond_the_limit_is_refused_before_it_is_read(portal: Portal, settings: Any) -> None:
    settings.PKI_BULK_MAX_LINES, settings.PKI_BULK_MAX_BYTES = 2, 2000
    alice = signed_in("alice")
    table = "name\n" + "\n".join(f"a{n}" for n in range(3))
    for content in (table, "name\n" + "x" * 2000):
        response = alice.post("/bulk/new/", {"via": "file", "team": "web", "file": SimpleUploadedFile("w.csv", content.encode())})
        assert response.status_code in (413, 422)
    assert BulkOrder.objects.count() == 0


def test_asking_about_a_download_is_not_taking_it(portal: Portal) -> None:
    order = drafted(portal, WORDS)
    response = signed_in("alice").head(f"/bulk/{order.public_id}/certificates.zip")
    assert (response.status_code, response["Content-Type"]) == (200, "application/zip")
    assert AuditEvent.objects.filter(event="certificate:downloaded").count() == 0


def test_body_beyond_all_bounds_is_refused_by_its_length_alone(portal: Portal, settings: Any) -> None:
    settings.PKI_BULK_MAX_BYTES = 1024
    body = SimpleUploadedFile("w.csv", b"x" * 2_000_000)
    page = Client().post("/bulk/new/", {"file": body})
    assert (page.status_code, "Nothing of it was read" in page.content.decode()) == (413, True)
    answer = Client().post("/api/v1/bulk/upload", {"file": SimpleUploadedFile("w.csv", b"x" * 2_000_000)})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:pki-portal:error:too_large")


def test_upload_that_is_too_large_or_lost_is_said_beside_the_form(look: Visit, portal: Portal, settings: Any) -> None:
    settings.PKI_BULK_MAX_BYTES = 1024
    alice = look()
    alice.open("/bulk/new/?keys=store&via=file")
    file, send = alice.page.get_by_label("File (CSV"), alice.page.get_by_role("button", name="Show what would be issued")
    file.set_input_files({"name": "w.csv", "mimeType": "text/csv", "buffer": b"x" * 2_000_000})
    send.click()
    notice = alice.page.get_by_role("alert")
    expect(notice).to_contain_text("That is too large")
    expect(notice).to_contain_text("Split the file, and send the parts one after another.")
    expect(notice).not_to_contain_text("go back")
    expect(send).to_be_enabled()
    assert alice.axe() == []
    alice.page.route("**/bulk/new/", lambda route: route.abort())
    file.set_input_files({"name": "w.csv", "mimeType": "text/csv", "buffer": b"name\napi-1"})
    send.click()
    expect(notice).to_contain_text("The portal does not answer")
    expect(notice).to_have_count(1)
    alice.page.unroute("**/bulk/new/")
    alice.follow(send)
    expect(alice.page.get_by_role("heading", name="Draft: 1 certificate")).to_be_visible()
    # What htmx writes on the console of the two answers above.
    assert all(one.startswith(("Response Status Error Code 413", "htmx:sendError")) for one in alice.complaints)
    alice.complaints.clear()
