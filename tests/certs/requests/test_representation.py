"""The answer about a request, the same at every channel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cryptography import x509

from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest
from certs.requests.representation import answer, certificate_answer, is_settled, wait
from certs.requests.states import UNFINISHED
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def row(twin_portal: Requester, make_spec: MakeSpec) -> CertificateRequest:
    (request,) = submit_many([make_spec()], requester=twin_portal)
    return request


def test_a_request_without_a_certificate_is_no_success_in_any_state(row: CertificateRequest) -> None:
    for state in S:
        row.state = state
        told = answer(row)
        assert (told["success"], told["state"], told["audit_reference"], bool(told["error"])) == (False, state, row.public_id, True)
        assert set(told) == {"success", "state", "audit_reference", "error"}


def test_what_is_known_of_a_refusal_and_of_a_way_on_is_told(row: CertificateRequest) -> None:
    row.state, row.error = S.REJECTED, "Policy violation: validity"
    row.policy_version, row.suggestion, row.resume_id = "v2.3", "Use validity ≤ 397 days", "resume-1"
    told = answer(row)
    assert (told["policy_version"], told["suggestion"], told["resume_id"]) == ("v2.3", "Use validity ≤ 397 days", "resume-1")
    assert told["error"] == "Policy violation: validity"


def test_a_certificate_is_told_only_once_it_is_in_the_inventory(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(), twin_portal)
    row = CertificateRequest.objects.get()
    told = answer(row)
    assert told == certificate_answer(certificate, audit_reference=row.public_id)
    read = x509.load_pem_x509_certificate(told["certificate"].encode())
    assert int(told["serial_number"].replace(":", ""), 16) == read.serial_number
    assert told["expires_at"] == read.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (told["success"], told["cert_id"], "notes" in told) == (True, certificate.cert_id, False)
    row.state = S.ISSUED
    assert answer(row)["success"] is False


def test_a_certificate_that_is_shorter_than_requested_says_so(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(days=90), twin_portal)
    CertificateRequest.objects.update(validity_days=120)
    certificate = Certificate.objects.select_related("request", "body", "issuer").get(pk=certificate.pk)
    (note,) = certificate_answer(certificate, audit_reference="x")["notes"]
    assert "not as requested (120 days)" in note
    assert "Twin-CA did not issue it for longer" in note


def test_a_request_is_settled_where_nothing_happens_without_a_person(row: CertificateRequest) -> None:
    settled = set()
    for state in S:
        row.state = state
        if is_settled(row):
            settled.add(state)
    assert settled == set(S) - set(UNFINISHED)
    row.state, row.held_since = S.CSR_CREATED, database_now()
    assert is_settled(row)


def test_waiting_ends_when_the_request_is_settled_or_the_time_is_over(row: CertificateRequest) -> None:
    begun = time.monotonic()
    assert wait(row, seconds=0.1).state == S.SUBMITTED
    assert 0.1 <= time.monotonic() - begun < 5
    CertificateRequest.objects.update(state=S.REJECTED)
    assert wait(row, seconds=30).state == S.REJECTED
    assert time.monotonic() - begun < 10
