"""From words to a downloaded certificate, and every way in which the portal says no."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from playwright.sync_api import expect

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest
from tests.certs.api.test_issue import pem_csr
from tests.journeys.conftest import Visitor
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
SENTENCE = "Issue TLS certificate for api.example.com and www.example.com with P-256, 90-day validity"


def test_words_become_a_certificate_that_can_be_downloaded(visit: Visit) -> None:
    alice = visit()
    alice.plan(SENTENCE)
    expect(alice.page.get_by_text("Nothing has been made yet")).to_be_visible()
    expect(alice.page.get_by_text("ECDSA P-256, made in the vault, where it stays")).to_be_visible()
    assert CertificateRequest.objects.count() == 0
    alice.page.get_by_role("button", name="Get the certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    with alice.page.expect_download() as downloading:
        alice.page.get_by_role("link", name="Download api.example.com-fullchain.pem").click()
    chain = x509.load_pem_x509_certificates(Path(downloading.value.path()).read_bytes())
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert (names, len(chain)) == (["api.example.com", "www.example.com"], 2)
    chain[0].verify_directly_issued_by(chain[1])
    assert AuditEvent.objects.filter(event="certificate:downloaded").count() == 1


def test_refusal_names_reason_and_version_and_its_suggestion_passes(visit: Visit) -> None:
    alice = visit()
    alice.plan("Issue TLS certificate for api.example.com with RSA 2048, 90 days")
    expect(alice.page.get_by_text("Key size 2048 below minimum 3072")).to_be_visible()
    expect(alice.page.get_by_text("under policy v2.3").first).to_be_visible()
    expect(alice.page.get_by_role("button", name="Get the certificate")).to_have_count(0)
    alice.page.get_by_role("button", name="Use RSA key size ≥ 3072 bits").click()
    alice.page.get_by_role("button", name="Show the plan").click()
    expect(alice.page.get_by_text("RSA 3072, made in the vault")).to_be_visible()
    expect(alice.page.get_by_role("button", name="Get the certificate")).to_be_visible()
    assert CertificateRequest.objects.count() == 0


def test_words_that_are_not_understood_are_marked_and_kept(visit: Visit) -> None:
    alice = visit()
    alice.ask("Issue TLS certificate for api.example.com with a banana")
    expect(alice.page.locator("mark.here")).to_be_visible()
    expect(alice.page.get_by_text("Try:")).to_be_visible()
    expect(alice.page.get_by_label("Or say it")).to_have_value("Issue TLS certificate for api.example.com with a banana")


def test_pasted_csr_is_issued_without_a_key_step(visit: Visit) -> None:
    alice = visit()
    alice.open("/new/csr/")
    alice.page.get_by_label("or paste its text").fill(pem_csr("own.example.com"))
    alice.page.get_by_role("button", name="Show the plan").click()
    alice.page.get_by_role("button", name="Get the certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    assert Certificate.objects.get().key is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("016_sig_bit_flipped.pem", "bad_signature"), ("101_subj_html_script.pem", "unsafe_subject"), ("026_key_rsa1024.pem", "weak_key")],
)
def test_hostile_csr_is_refused_with_its_class(visit: Visit, name: str, expected: str) -> None:
    alice = visit()
    alice.open("/new/csr/")
    alice.page.get_by_label("CSR file").set_input_files(Path(__file__).resolve().parents[1] / "corpus" / "csr" / name)
    alice.page.get_by_role("button", name="Show the plan").click()
    expect(alice.page.get_by_role("alert").get_by_text(expected, exact=True)).to_be_visible()
    assert CertificateRequest.objects.count() == 0


def test_form_completes_a_bare_label_and_says_so(visit: Visit) -> None:
    alice = visit()
    alice.open("/new/")
    alice.page.get_by_role("button", name="Software that signs through Vault").click()
    alice.page.get_by_label("Names").fill("intranet")
    alice.page.get_by_role("button", name="Show the plan").click()
    alice.page.get_by_text("Assumed for you").click()
    expect(alice.page.get_by_text("intranet was completed to intranet.example.com.")).to_be_visible()


def test_double_click_is_one_request(visit: Visit) -> None:
    alice = visit()
    alice.plan(SENTENCE)
    shown = alice.page.locator("form[data-once] input[name=shown]").get_attribute("value")
    address = alice.page.url.replace("/plan/", "/submit/")
    answers = [
        alice.page.request.post(address, form={"shown": shown or "", "csrfmiddlewaretoken": _csrf(alice)}, headers={"Referer": alice.base})
        for _ in range(3)
    ]
    assert {answer.url for answer in answers} == {answers[0].url}
    assert CertificateRequest.objects.count() == 1
    alice.page.goto(answers[0].url)  # the worker is done before the inventory is judged
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)


def _csrf(visitor: Visitor) -> str:
    return str(visitor.page.locator("form[data-once] input[name=csrfmiddlewaretoken]").get_attribute("value"))


def test_wildcard_waits_for_another_persons_approval(visit: Visit) -> None:
    alice = visit()
    alice.plan("Issue TLS certificate for *.apps.example.com with P-256")
    alice.page.get_by_label("Why do you need it?").fill("One certificate for the review apps")
    alice.page.get_by_role("button", name="Ask for approval").click()
    expect(alice.page.get_by_text("Waiting for the security team")).to_be_visible(timeout=20_000)
    expect(alice.page.get_by_text("carol", exact=True)).to_be_visible()
    request = CertificateRequest.objects.get()
    expect(alice.page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    carol = visit("carol")
    carol.open(f"/requests/{request.public_id}/")
    expect(carol.page.get_by_text("One certificate for the review apps")).to_be_visible()
    carol.page.get_by_role("button", name="Approve", exact=True).click()
    expect(carol.page.get_by_text("*.apps.example.com was approved. The requester has been notified.")).to_be_visible()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    request.refresh_from_db()
    assert request.state == S.COMPLETED


def test_outsider_gets_404_for_what_is_not_theirs(visit: Visit, portal: Portal) -> None:
    alice = visit()
    alice.plan(SENTENCE)
    alice.page.get_by_role("button", name="Get the certificate").click()
    expect(alice.page.get_by_text("Signed. ")).to_be_visible(timeout=20_000)
    request, certificate = CertificateRequest.objects.get(), Certificate.objects.get()
    bob = visit("bob")
    paths = (
        f"/requests/{request.public_id}/",
        f"/requests/{request.public_id}/steps/",
        f"/certificates/{certificate.cert_id}/",
        f"/certificates/{certificate.cert_id}/cert.pem",
        "/alerts/",
    )
    assert [bob.page.request.get(bob.base + path).status for path in paths] == [404] * len(paths)
    bob.open("/requests/")
    expect(bob.page.get_by_text("No request yet")).to_be_visible()
