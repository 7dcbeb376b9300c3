"""The home page: what each person finds there, and that it stays short and quick."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from certs.enums import RequestState
from certs.inventory.figures import count_states
from certs.models import Certificate, CertificateRequest, OperatorAlert, RenewalBlocked
from certs.requests.plan import plan_words
from certs.requests.submit import submit
from db.clock import database_now
from tests.cast import person
from tests.certs.api.test_issue import Api, pem_csr
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def home(user: Any) -> str:
    client = Client()
    client.force_login(user)
    response = client.get("/", follow=True)  # the home of an auditor is the estate
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def with_role(name: str, role: str) -> Any:
    return person(name, role, email=f"{name}@example.com")


@pytest.fixture
def certificate(portal: Portal) -> Certificate:
    assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr("shop.example.com")})[0] == 200
    return Certificate.objects.get()


def waiting_for_approval(portal: Portal) -> CertificateRequest:
    plan: Any = plan_words("Issue TLS certificate for *.apps.example.com with P-256", requester=portal.requester())
    row = submit(plan.specs[0], requester=portal.requester())
    CertificateRequest.objects.filter(pk=row.pk).update(state=RequestState.AWAITING_APPROVAL)
    return row


def test_newcomer_sees_three_steps_and_the_box(portal: Portal) -> None:
    text = home(portal.alice)
    assert "Your first certificate" in text
    assert text.count("<li><strong>") == 3
    assert "Your request in words" in text


def test_navigation_leads_to_the_certificates_in_use(portal: Portal, certificate: Certificate) -> None:
    """What is over or renewed filled the first pages of the list."""
    assert 'href="/certificates/?state=active">Certificates</a>' in home(portal.alice)
    client = Client()
    client.force_login(portal.alice)
    page = client.get("/certificates/?state=active").content.decode()
    assert "shop.example.com" in page
    assert 'href="/certificates/?state=active" aria-current="page"' in page
    Certificate.objects.update(status=Certificate.Status.REVOKED)
    page = client.get("/certificates/?state=active").content.decode()
    assert "No certificate in use." in page
    assert "Request one" in page
    assert "Show all certificates" in page


def test_requester_sees_certificates_by_days_left_and_open_requests(portal: Portal, certificate: Certificate) -> None:
    row = waiting_for_approval(portal)
    text = home(portal.alice)
    assert "Your first certificate" not in text
    assert f"/certificates/{certificate.cert_id}/" in text
    assert f"/requests/{row.public_id}/" in text
    assert "Waits for the security team" in text
    assert "Nothing waits for you." in text  # an approval is not the requester's to give
    assert f"/certificates/{certificate.cert_id}/" not in home(portal.bob)


def test_certificate_that_nothing_renews_is_the_first_thing_with_one_action(
    portal: Portal, certificate: Certificate, settings: Any
) -> None:
    settings.PKI_RENEW_BEFORE_DAYS = 400
    Certificate.objects.update(renewal_blocked=RenewalBlocked.NEEDS_CSR, alert_at=database_now())
    text = home(portal.alice)
    assert "Needs you" in text
    assert f'href="/certificates/{certificate.cert_id}/renew/">Renew with a new CSR' in text
    assert text.index("Needs you") < text.index("Your certificates")


def test_approver_of_no_team_decides_from_home_without_being_staff(portal: Portal) -> None:
    row = waiting_for_approval(portal)
    approver = with_role("ann", "approver")
    text = home(approver)
    assert f'href="/requests/{row.public_id}/">Decide' in text
    assert "You are in no team yet" not in text
    assert 'id="id_text"' not in text  # nothing to request without a team
    assert "Decide" not in home(with_role("audra", "auditor"))


def test_alerts_are_the_operators_business(portal: Portal) -> None:
    now = database_now()
    OperatorAlert.objects.create(kind="x", cause="y", message="The CA is away.", next_step="Wait.", raised_at=now, last_seen_at=now)
    assert "Look at the alert" in home(with_role("otto", "operator"))
    assert "Look at the alert" not in home(with_role("audra", "auditor"))
    assert "The CA is away." not in home(portal.alice)


def test_auditor_sees_figures_that_lead_to_their_lists(portal: Portal, certificate: Certificate) -> None:
    count_states()
    text = home(with_role("audra", "auditor"))
    assert '<a href="/certificates/?state=active">1 certificate in use</a>' in text


def test_role_is_enough_for_the_administration(portal: Portal) -> None:
    client = Client()
    client.force_login(with_role("audra", "auditor"))
    assert client.get("/admin/").status_code == 200
    assert "/admin/" in home(get_user_model().objects.get(username="audra"))
    client.force_login(portal.alice)
    assert client.get("/admin/").status_code in (302, 403)
    assert "/admin/" not in home(portal.alice)


def test_person_of_no_team_and_no_role_is_told_whom_to_ask(portal: Portal) -> None:
    assert "You are in no team yet" in home(person("dora"))


def test_links_of_earlier_releases_lead_to_the_form(portal: Portal) -> None:
    client = Client()
    client.force_login(portal.alice)
    assert client.get("/?via=csr")["Location"] == "/new/csr/"


def test_number_of_queries_does_not_grow_with_the_inventory(portal: Portal, certificate: Certificate) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            home(portal.alice)
        return len(captured)

    queries()
    few = queries()
    for number in range(5):
        assert Api(portal.token()).post("/certificates/issue", {"csr": pem_csr(f"s{number}.example.com")})[0] == 200
    assert queries() == few
