"""After a change of the policy the estate says at once what is not renewed any more; the night is not waited for."""

from __future__ import annotations

import pytest

from certs.estate.compliance import judge_when_due
from certs.estate.looking_ahead import look_ahead, look_ahead_when_due
from certs.models import Certificate, CertificateRequest, ComplianceDay, OutgoingMail
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from tests.certs.life import issued, new_policy, years_later

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
STRICTER = {"allowed_keys": {"rsa": {"min_bits": 3072, "max_bits": 8192}, "ec": [], "ed25519": False, "ml-dsa": []}}


@pytest.fixture
def certificate(twin_portal: Requester) -> Certificate:
    spec = CertificateSpec("api.example.com", ("api.example.com",), (), "ec-p256", 90, "tls-server")
    return years_later(issued(spec, twin_portal), days_left=20)


def test_what_a_new_version_refuses_is_no_renewal_without_a_person_any_more(certificate: Certificate) -> None:
    judge_when_due()
    assert look_ahead_when_due() == 0  # the version of today's numbers is in force
    new_policy("v3", **STRICTER)
    assert look_ahead_when_due() == 1
    certificate.refresh_from_db()
    assert certificate.renewal_blocked == "policy"
    assert (CertificateRequest.objects.count(), OutgoingMail.objects.filter(subject__contains="renew").count()) == (1, 0)
    assert judge_when_due() == 1
    assert ComplianceDay.objects.get(team__isnull=True).policy_version == "v3"
    assert look_ahead_when_due() == 0


def test_what_a_new_version_allows_again_renews_automatically(certificate: Certificate) -> None:
    Certificate.objects.update(renewal_blocked="policy")
    assert look_ahead() == 1
    certificate.refresh_from_db()
    assert certificate.renewal_blocked == ""


def test_what_a_person_switched_off_stays_off(certificate: Certificate) -> None:
    Certificate.objects.update(renewal_off_reason="Retired", renewal_blocked="off")
    new_policy("v3", **STRICTER)
    look_ahead()
    certificate.refresh_from_db()
    assert certificate.renewal_blocked == "off"
