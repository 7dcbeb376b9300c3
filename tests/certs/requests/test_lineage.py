"""Lineages: what follows what, and what a revocation stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.models import Certificate, CertificateRequest, Revocation
from certs.renewal.renew import renew
from certs.requests import lineage
from certs.requests.submit import Requester
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.life import PORTAL, issued, renewed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
STOPPING = sorted(set(R) - {R.SUPERSEDED})


@pytest.fixture
def certificate(twin_portal: Requester, make_spec: MakeSpec) -> Certificate:
    return issued(make_spec(), twin_portal)


def mark_revoked(certificate: Certificate, reason: R) -> None:
    """As it stands when its revocation was requested, without what `revoke` does besides."""
    Certificate.objects.filter(pk=certificate.pk).update(status=Certificate.Status.REVOKED)
    Revocation.objects.create(certificate=certificate, reason=reason, requested_at=database_now(), requested_by="test")
    certificate.refresh_from_db()


def test_a_lineage_is_the_same_from_each_of_its_certificates(certificate: Certificate) -> None:
    second = renewed(certificate)
    third = renewed(second)
    whole = [certificate, second, third]
    for one in whole:
        assert lineage.lineage_of(one) == whole
        assert lineage.newest_of(one) == third


@pytest.mark.parametrize("reason", sorted(R))
def test_a_revocation_stops_the_lineage_unless_it_says_superseded(certificate: Certificate, reason: R) -> None:
    assert not lineage.stops_lineage(certificate)
    mark_revoked(certificate, reason)
    assert lineage.stops_lineage(certificate) is (reason != R.SUPERSEDED)


@pytest.mark.parametrize("reason", STOPPING)
def test_an_open_renewal_of_a_revoked_certificate_is_cancelled_and_says_why(certificate: Certificate, reason: R) -> None:
    row = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    mark_revoked(certificate, reason)
    assert lineage.cancel_stopped_renewals(certificate) == 1
    assert lineage.cancel_stopped_renewals() == 0  # safe to run at any time
    row.refresh_from_db()
    assert (row.state, row.error) == (S.CANCELLED, f"{certificate.cert_id} was revoked, so nothing follows it.")
    assert row.suggestion
    event = AuditEvent.objects.get(subject=row.subject, event="request:cancelled")
    assert event.data["because_of"] == certificate.cert_id


def test_a_renewal_of_a_superseded_or_good_certificate_goes_on(certificate: Certificate) -> None:
    row = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    assert lineage.cancel_stopped_renewals() == 0
    mark_revoked(certificate, R.SUPERSEDED)
    assert lineage.cancel_stopped_renewals() == 0
    row.refresh_from_db()
    assert row.state == S.SUBMITTED


@pytest.mark.parametrize("state", [S.ISSUED, S.COMPLETED, S.REJECTED, S.FAILED])
def test_what_cannot_be_cancelled_or_waits_for_a_person_is_left_alone(certificate: Certificate, state: S) -> None:
    row = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    CertificateRequest.objects.filter(pk=row.pk).update(state=state)
    mark_revoked(certificate, R.KEY_COMPROMISE)
    assert lineage.cancel_stopped_renewals() == 0
    row.refresh_from_db()
    assert row.state == state


def test_only_the_renewal_of_that_certificate_is_cancelled(certificate: Certificate, twin_portal: Requester, make_spec: MakeSpec) -> None:
    other = issued(make_spec("other.example.com"), twin_portal)
    for one in (certificate, other):
        renew(one, authority=PORTAL, channel="command", begin=False)
        mark_revoked(one, R.CESSATION_OF_OPERATION)
    assert lineage.cancel_stopped_renewals(certificate) == 1
    assert lineage.cancel_stopped_renewals() == 1


def test_a_result_is_revoked_for_the_reason_of_the_old_one_but_another_key_is_not_compromised(certificate: Certificate) -> None:
    """RFC 5280 5.3.1: keyCompromise says something about this key."""
    row = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    mark_revoked(certificate, R.KEY_COMPROMISE)
    for reused, expected in ((True, R.KEY_COMPROMISE), (False, R.CESSATION_OF_OPERATION)):
        row.key_reused = reused
        with transaction.atomic():
            renewed_rows = lineage.lock_renewed([row])
            assert renewed_rows == {row.pk: certificate}
            assert lineage.reasons_for_results([row], renewed_rows) == {row.pk: expected}


def test_what_is_no_renewal_costs_no_query_and_stops_for_nothing(
    certificate: Certificate, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    row = certificate.request
    with django_assert_num_queries(0):
        assert (lineage.lock_renewed([row]), lineage.stopped_lineages({}), lineage.keys_followed([row])) == ({}, {}, {})


def test_the_key_that_a_new_key_follows_is_the_renewed_certificates(certificate: Certificate) -> None:
    row = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    assert lineage.keys_followed([row]) == {row.pk: certificate.key_id}


def test_a_key_that_its_own_team_reported_is_refused_until_the_report_is_taken_back(certificate: Certificate) -> None:
    key = certificate.spki_sha256
    assert lineage.keys_reported_by_owner([key]) == set()
    revoke(certificate, reason=R.KEY_COMPROMISE, authority=PORTAL, begin=False)
    assert lineage.keys_reported_by_owner([key, "other"]) == {key}
    Revocation.objects.update(released_at=database_now())
    assert lineage.keys_reported_by_owner([key]) == set()


def test_the_renewed_certificate_says_what_follows_it(certificate: Certificate) -> None:
    new = renewed(certificate)
    (event,) = AuditEvent.objects.filter(subject=f"certificate:{certificate.cert_id}", event="certificate:renewed")
    assert event.data == {"renewed_by": new.cert_id}
