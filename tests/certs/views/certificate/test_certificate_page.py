"""The tabs of a certificate's page without a browser: what each says, and the flows of renewal and revocation."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from certs.models import Certificate, CertificateRequest, InstalledPlace, PlannedRevocation
from certs.requests.description import describe
from db.clock import database_now
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.life import PORTAL, brought, issued, renewed
from tests.certs.views.certificate.test_certificate_actions import browser, text_of
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def certificate(portal: Portal) -> Certificate:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    return Certificate.objects.get()


def page(portal: Portal, certificate: Certificate, tab: str = "") -> str:
    response = browser(portal.alice).get(f"/certificates/{certificate.cert_id}/{tab}")
    assert response.status_code == 200
    return text_of(response)


def test_title_is_the_first_name_also_where_the_subject_has_none(portal: Portal, certificate: Certificate) -> None:
    Certificate.objects.update(common_name="")
    for tab in ("", "install/", "renewals/", "history/", "technical/"):
        text = page(portal, certificate, tab)
        assert '<h1 class="names">shop.example.com</h1>' in text
        assert text.count('aria-current="page"') >= 1
    assert "shop.example.com</a>" in text_of(browser(portal.alice).get("/certificates/"))


def test_long_list_of_names_is_folded(portal: Portal, certificate: Certificate) -> None:
    CertificateRequest.objects.update(dns_names=[f"n{number}.example.com" for number in range(100)])
    text = page(portal, certificate)
    assert "and 99 more" in text
    assert "<summary>Show 95 more</summary>" in text


def test_tags_lead_to_the_list_and_the_runbook_is_a_link(portal: Portal, certificate: Certificate) -> None:
    describe(
        certificate,
        {"tags": ["production"], "runbook": "https://wiki.example.com/shop", "notes": "first\nsecond <b>"},
        authority=PORTAL,
        channel="command",
    )
    text = page(portal, certificate)
    assert 'href="/certificates/?tag=production"' in text
    assert 'href="https://wiki.example.com/shop"' in text
    assert "first<br>second &lt;b&gt;" in text
    listed = text_of(browser(portal.alice).get("/certificates/?tag=production"))
    assert f"/certificates/{certificate.cert_id}/" in listed
    assert "tag production" in listed
    assert f"/certificates/{certificate.cert_id}/" not in text_of(browser(portal.alice).get("/certificates/?tag=other"))


def test_owner_form_writes_notes_tags_and_runbook(portal: Portal, certificate: Certificate) -> None:
    given = {"owner": "alice", "purpose": "Shop", "tags": "web, production", "runbook": "https://wiki.example.com/", "notes": "n"}
    alice = browser(portal.alice)
    assert alice.post(f"/certificates/{certificate.cert_id}/describe/", given).status_code == 302
    certificate.refresh_from_db()
    assert (certificate.tag_list, certificate.runbook, certificate.notes) == (["web", "production"], "https://wiki.example.com/", "n")
    refused = alice.post(f"/certificates/{certificate.cert_id}/describe/", given | {"runbook": "javascript:alert(1)"})
    assert (refused.status_code, "no web address" in text_of(refused)) == (422, True)


def test_files_are_named_after_the_certificate(portal: Portal, certificate: Certificate) -> None:
    response = browser(portal.alice).get(f"/certificates/{certificate.cert_id}/fullchain.pem")
    assert response["Content-Disposition"] == 'attachment; filename="shop.example.com-fullchain.pem"'
    text = page(portal, certificate, "install/")
    assert "openssl pkcs12 -export" in text
    assert "shop.example.com-chain.p7b" in text


def test_history_is_in_words_with_the_event_below(portal: Portal, certificate: Certificate) -> None:
    browser(portal.alice).get(f"/certificates/{certificate.cert_id}/fullchain.pem")
    text = page(portal, certificate, "history/")
    assert "alice downloaded fullchain.pem." in text
    assert "signed the certificate, and the portal verified it." in text
    assert "<code>certificate:downloaded</code>" in text


def test_renewals_say_where_the_key_changed(portal: Portal, certificate: Certificate) -> None:
    renewed(certificate)
    assert "Same key" in page(portal, certificate, "renewals/")
    assert "Install the new certificate" in page(portal, certificate)


def test_renewal_with_a_csr_shows_the_plan_first_and_does_it_then(portal: Portal, certificate: Certificate) -> None:
    alice, path = browser(portal.alice), f"/certificates/{certificate.cert_id}/renew/"
    form = text_of(alice.get(f"{path}?key=csr"))
    assert "openssl req -new" in form
    upload = SimpleUploadedFile("shop.csr", pem_csr("shop.example.com").encode())
    shown = alice.post(path, {"key": "csr", "file": upload})
    assert (shown.status_code, CertificateRequest.objects.count()) == (200, 1)
    assert "new ECDSA P-256, on your server" in text_of(shown)
    confirmed = re.search(r'name="confirmed" value="([^"]+)"', shown.content.decode())
    assert confirmed is not None
    assert alice.post(path, {"key": "csr", "confirmed": confirmed[1]}).status_code == 302
    assert CertificateRequest.objects.get(renewed_from=certificate).key_reused is False


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "There is no CSR."),
        ({"csr": "nonsense"}, ""),
        ({"csr": pem_csr("other.example.com")}, "The names of the CSR are not those of shop.example.com"),
        ({"confirmed": "%%%"}, "came back damaged"),
    ],
    ids=["empty", "nonsense", "other names", "damaged"],
)
def test_bad_csr_comes_back_with_the_form(portal: Portal, certificate: Certificate, given: dict[str, str], said: str) -> None:
    response = browser(portal.alice).post(f"/certificates/{certificate.cert_id}/renew/", {"key": "csr"} | given)
    assert (response.status_code, said in text_of(response), "Send the CSR" in text_of(response)) == (422, True, True)
    assert CertificateRequest.objects.count() == 1


def revoke_for_theft(portal: Portal, certificate: Certificate, **more: Any) -> Any:
    given = {"reason": "keyCompromise", "how": "replace", "hours": "4", "when": "deadline"} | more
    return browser(portal.alice).post(f"/certificates/{certificate.cert_id}/revoke/", given)


def test_replace_then_revoke_is_planned_shown_and_withdrawn(portal: Portal, certificate: Certificate) -> None:
    missing = revoke_for_theft(portal, certificate)
    assert (missing.status_code, "needs a CSR with a new key" in text_of(missing)) == (422, True)
    done = revoke_for_theft(portal, certificate, csr=pem_csr("shop.example.com"))
    plan = PlannedRevocation.objects.get()
    assert (done.status_code, done["Location"]) == (302, f"/requests/{plan.replacement.public_id}/")
    text = page(portal, certificate)
    assert f">{plan.deadline.day} {plan.deadline:%b %Y %H:%M} UTC</time>" in text
    assert "Withdraw the revocation" in text
    assert browser(portal.alice).post(f"/certificates/{certificate.cert_id}/withdraw/").status_code == 302
    assert "Withdraw the revocation" not in page(portal, certificate)
    assert Certificate.objects.get(pk=certificate.pk).status == Certificate.Status.GOOD


def test_only_officers_are_offered_the_reasons_of_a_ca_and_only_they_may_use_them(portal: Portal, certificate: Certificate) -> None:
    path = f"/certificates/{certificate.cert_id}/revoke/"
    assert "cACompromise" not in text_of(browser(portal.alice).get(path))
    refused = browser(portal.alice).post(path, {"reason": "cACompromise"})
    assert (refused.status_code, "Only the security team" in text_of(refused)) == (422, True)
    status, told = Api(portal.token()).post(f"/certificates/{certificate.cert_id}/revoke", {"reason": "aACompromise"})
    assert (status, told["field"]) == (422, "reason")
    assert "cACompromise" in text_of(browser(portal.carol).get(path))
    assert browser(portal.carol).post(path, {"reason": "cACompromise"}).status_code == 302


def test_pages_name_the_servers_that_use_the_certificate(portal: Portal, certificate: Certificate) -> None:
    path = f"/certificates/{certificate.cert_id}/revoke/?reason=cessationOfOperation"
    assert "does not know which servers use it" in text_of(browser(portal.alice).get(path))
    now = database_now()
    InstalledPlace.objects.create(
        certificate=certificate, host="shop.example.com", port=443, asked_at=now, seen_at=now, outcome="served", served=certificate
    )
    InstalledPlace.objects.create(
        certificate=certificate, host="away.example.com", port=443, asked_at=now, seen_at=now, outcome="unreachable"
    )
    text = text_of(browser(portal.alice).get(path))
    assert "<strong>shop.example.com:443</strong>" in text
    assert "away.example.com" not in text
    assert "<dt>Served at</dt>" in page(portal, certificate)


def test_page_of_what_needs_a_person_names_the_newer_certificate_for_its_names(portal: Portal, certificate: Certificate) -> None:
    now = database_now()
    Certificate.objects.filter(pk=certificate.pk).update(
        renewal_blocked="needs_csr",
        alert_at=now - timedelta(days=2),
        not_after=now + timedelta(days=9),
    )
    assert "Nothing renews this certificate" in page(portal, certificate)
    newer = issued(brought("shop.example.com"), portal.requester())
    text = page(portal, certificate)
    assert f'A newer certificate for the same names was requested: <a href="/certificates/{newer.cert_id}/">' in text
    assert f'href="/certificates/{certificate.cert_id}/revoke/?reason=superseded">Revoke as replaced</a>' in text
    assert "Renew with a new CSR" not in text
    assert "Revoke" in page(portal, certificate, "revoke/?reason=superseded")
