"""Renewals beside revocations, resumes and bad rows: a clean refusal, and a nightly run that ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.errors import Conflict, NotFound
from certs.models import Certificate, CertificateRequest, OperatorAlert
from certs.renewal import expiry
from certs.renewal.plan import plan_renewals
from certs.renewal.renew import begin_renewals, renew
from certs.requests.submit import Requester
from certs.requests.waiting import resume
from certs.revocation.request import request_revocation
from db.clock import database_now
from tests.certs.life import PORTAL, SYSTEM, issued, years_later
from tests.certs.requests.test_outcomes import MakeSpec
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def certificate(twin_portal: Requester, make_spec: MakeSpec) -> Certificate:
    return years_later(issued(make_spec("race.example.com"), twin_portal), days_left=10)


def outcome_of(work: Callable[[], object], kept: list[object]) -> Callable[[], None]:
    def run() -> None:
        try:
            kept.append(work())
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            kept.append(exc)

    return run


@pytest.mark.parametrize("door", ["renew", "nightly"])
def test_renewing_beside_a_revocation_is_refused_cleanly(door: str, certificate: Certificate) -> None:
    """F5: 500, because a join under FOR UPDATE kept the revocation that was not there yet."""
    kept: list[Any] = []
    work: Callable[[], object] = (
        (lambda: renew(certificate, authority=PORTAL, channel="portal", begin=False))
        if door == "renew"
        else (lambda: expiry.check_expiry(begin=False))
    )
    with transaction.atomic():
        request_revocation(certificate, reason=R.KEY_COMPROMISE, authority=Authority(SYSTEM), begin=False)
        thread = in_thread(outcome_of(work, kept))
        until_it_waits_for_a_lock()
    thread.join(30)
    if door == "renew":
        assert isinstance(kept[0], Conflict)
        assert "is revoked (keyCompromise)" in kept[0].message
    else:
        assert (kept[0].renewed, kept[0].refused) == ([], [])
    assert not CertificateRequest.objects.filter(renewed_from=certificate).exists()
    assert not OperatorAlert.objects.filter(kind="renewal_failed").exists()


def failed_renewal(certificate: Certificate) -> CertificateRequest:
    request = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    CertificateRequest.objects.filter(pk=request.pk).update(state=S.FAILED, stopped_at=S.APPROVED, resume_id="resume-1")
    return CertificateRequest.objects.get(pk=request.pk)


def test_nightly_run_beside_a_resume_finds_the_resumed_renewal(certificate: Certificate) -> None:
    """K7: living renewals were read before the failed ones were locked; IntegrityError ended the run."""
    failed, kept = failed_renewal(certificate), list[Any]()
    with transaction.atomic():
        resume("resume-1", authority=Authority(SYSTEM))
        thread = in_thread(outcome_of(lambda: expiry.check_expiry(begin=False), kept))
        until_it_waits_for_a_lock()
    thread.join(30)
    assert kept[0].renewed == []
    assert list(CertificateRequest.objects.filter(renewed_from=certificate)) == [failed]


def test_resume_beside_a_new_renewal_is_refused_cleanly(certificate: Certificate) -> None:
    failed, kept = failed_renewal(certificate), list[Any]()
    with transaction.atomic():
        renew(certificate, authority=PORTAL, channel="command", begin=False)
        thread = in_thread(outcome_of(lambda: resume("resume-1", authority=Authority(SYSTEM)), kept))
        until_it_waits_for_a_lock()
    thread.join(30)
    assert isinstance(kept[0], NotFound)
    failed.refresh_from_db()
    assert failed.state == S.CANCELLED


def test_one_bad_certificate_stops_neither_the_others_nor_the_nightly_run(
    certificate: Certificate, twin_portal: Requester, make_spec: MakeSpec
) -> None:
    """K7, F5: the run would lose its page and end."""
    good = [years_later(issued(make_spec(f"good{n}.example.com"), twin_portal), days_left=9 + n) for n in range(3)]
    CertificateRequest.objects.filter(certificate=certificate).update(dns_names=5)  # no list
    done = expiry.check_expiry(begin=False)
    assert {one.plan.certificate.pk for one in done.renewed} == {one.pk for one in good}
    alert = OperatorAlert.objects.get(kind="renewal_failed")
    assert certificate.cert_id in alert.message
    assert expiry.check_expiry(begin=False).renewed == []  # nothing twice


def test_certificate_that_another_caller_renewed_first_is_that_callers_success(certificate: Certificate) -> None:
    """K7: of two that insert, the second answers the first one's request."""
    (plan,) = plan_renewals([certificate], at=database_now())
    first = begin_renewals([plan], actor=SYSTEM, channel="command", begin=False)
    second = begin_renewals([plan], actor=SYSTEM, channel="command", begin=False)
    assert [one.request.pk for one in first] == [one.request.pk for one in second]
    with pytest.raises(IntegrityError), transaction.atomic():  # what guards it
        CertificateRequest.objects.create(
            **{
                name: getattr(first[0].request, name)
                for name in ("state", "team", "issuer", "validity_days", "renewed_from", "created_at", "state_changed_at")
            },
            public_id="req-again",
        )
