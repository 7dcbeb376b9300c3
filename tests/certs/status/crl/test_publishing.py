"""When a new CRL is made, under which number, on which shard; and who is told when it is late."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.models import CRL, CRLPoint, CRLSegment, OperatorAlert, Revocation
from certs.revocation.request import request_revocation
from certs.status.crl import needs_new_crl
from certs.status.maintenance import keep_status_information
from certs.status.publishing import ALARM_BEFORE, open_next_shard, refresh_point
from certs.status.watch import watch
from db.clock import database_now
from db.tolerance import CLOCK_TOLERANCE
from pkiportal.settings import base
from tests.certs.status.crl.lists import number_of, point, serials
from tests.portal.authority import issue, publish_everything, published, revoke
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_revocation_reaches_the_crl_by_itself(portal: Portal, worker: None) -> None:
    """The task that a revocation starts on commit publishes too; nobody waits for the schedule."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    request_revocation(certificate, reason=RevocationReason.KEY_COMPROMISE, authority=Authority(SYSTEM))
    end = time.monotonic() + 60
    while serials(published(issuer)) == [] and time.monotonic() < end:
        time.sleep(0.1)
    assert serials(published(issuer)) == [certificate.serial_number]


def test_each_publication_is_one_number_and_one_event(portal: Portal) -> None:
    issuer = publish_everything()
    for certificate in issue(portal, 3):
        revoke(certificate)
        assert refresh_point(point()) is not None
    numbers = list(CRL.objects.filter(point=point()).order_by("pk").values_list("number", flat=True))
    assert len(numbers) == 4
    assert all(later > earlier for earlier, later in pairwise(numbers))
    assert number_of(published(issuer)) == numbers[-1]
    events = AuditEvent.objects.filter(event="crl:published", subject=f"issuer:{issuer.slug}").order_by("subject_seq")
    assert [event.data["number"] for event in events] == numbers


def test_number_stays_above_the_clock_and_above_the_last(portal: Portal) -> None:
    issue(portal, 1)
    before = int(database_now().timestamp())
    publish_everything()
    first = point().last_number
    assert first >= before
    CRLPoint.objects.filter(pk=point().pk).update(last_number=first + 10_000)  # as if the clock had gone back
    made = refresh_point(point(), force=True)
    assert made is not None
    assert made.number == first + 10_001


def test_nothing_new_makes_no_crl(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    publish_everything()
    assert refresh_point(point()) is None
    assert needs_new_crl(point(), now=database_now()) is False


def test_crl_is_made_anew_when_it_is_time(portal: Portal, settings: Any) -> None:
    publish_everything()
    later = database_now() + timedelta(hours=settings.PKI_CRL_EVERY_HOURS, seconds=1)
    assert needs_new_crl(point(), now=later) is True


def test_revocation_knows_the_first_crl_that_held_it(portal: Portal) -> None:
    issuer = publish_everything()
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    assert Revocation.objects.get().first_crl_number is None
    refresh_point(point())
    first = number_of(published(issuer))
    assert Revocation.objects.get().first_crl_number == first
    refresh_point(point(), force=True)
    assert Revocation.objects.get().first_crl_number == first


def test_ranges_that_did_not_change_are_taken_over(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.status.crl.segments.RANGE", 2)
    certificates = issue(portal, 9)
    for certificate in certificates[:7]:
        revoke(certificate)
    issuer = publish_everything()
    first = point().published
    assert first is not None
    revoke(certificates[8])
    refresh_point(point())
    second = point().published
    assert second is not None
    assert len(set(first.segments) & set(second.segments)) >= 3
    assert serials(published(issuer)) == sorted(one.serial_number for one in [*certificates[:7], certificates[8]])


def test_shard_is_written_into_certificates_and_its_crl_names_itself(portal: Portal, settings: Any) -> None:
    settings.PKI_CRL_SHARD_SIZE = 3
    first = issue(portal, 3)
    issuer = publish_everything()
    keep_status_information()  # the first one's share is reached
    second = issue(portal, 2, prefix="s")
    assert {one.crl_shard for one in first} == {0}
    assert {one.crl_shard for one in second} == {1}
    revoke(first[0])
    revoke(second[0])
    keep_status_information()
    crl = published(issuer, 1)
    assert serials(crl) == [second[0].serial_number]
    idp = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    leaf = x509.load_der_x509_certificate(bytes(second[0].body.der))
    points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    assert idp.critical
    assert idp.value.full_name == points.value[0].full_name
    assert idp.value.only_some_reasons is None
    assert idp.value.indirect_crl is False


def test_complete_crl_stays_available_beside_the_shards(portal: Portal, settings: Any) -> None:
    """T4: for clients that keep one CRL for each issuer, or know no issuing distribution point."""
    settings.PKI_CRL_SHARD_SIZE = 1
    first = issue(portal, 1)
    issuer = publish_everything()
    keep_status_information()
    second = issue(portal, 1, prefix="s")
    for certificate in (*first, *second):
        revoke(certificate)
    keep_status_information()
    crl = published(issuer, 0)
    assert serials(crl) == sorted(one.serial_number for one in (*first, *second))
    assert [extension.oid for extension in crl.extensions if extension.critical] == []


def test_shards_are_a_decision_of_the_operator() -> None:
    """T4: few clients can use CRL shards, so the shipped setting makes none."""
    assert base.PKI_CRL_SHARD_SIZE == 0


def test_two_crls_in_one_second_differ_in_their_times(portal: Portal) -> None:
    """T3: thisUpdate is Last-Modified, whose seconds are all that some caches compare."""
    publish_everything()
    times = []
    for certificate in issue(portal, 3):
        revoke(certificate)
        made = refresh_point(point())
        assert made is not None
        assert made.this_update <= database_now()
        times.append(made.this_update)
    assert all(later - earlier >= timedelta(seconds=1) for earlier, later in pairwise(times))


def test_crl_is_valid_for_a_clock_that_is_behind(portal: Portal) -> None:
    """T9, O3: thisUpdate is back-dated like notBefore, but never before a revocation on the CRL."""
    made = publish_everything().crl_points.get().published
    assert made is not None
    assert made.published_at - made.this_update >= CLOCK_TOLERANCE
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    revoked_at = Revocation.objects.get().requested_at.replace(microsecond=0)
    second = refresh_point(point())
    assert second is not None
    assert second.this_update == revoked_at
    Revocation.objects.update(requested_at=revoked_at - timedelta(minutes=2))
    CRLSegment.objects.update(fingerprint="")  # encode again, as after any change of the range
    third = refresh_point(point(), force=True)
    assert third is not None
    assert third.this_update == second.this_update + timedelta(seconds=1)


def test_one_crl_names_no_distribution_point(portal: Portal) -> None:
    issuer = publish_everything()
    assert [extension.oid for extension in published(issuer).extensions if extension.critical] == []
    assert open_next_shard(issuer) is False


def test_late_crl_alarms_a_day_before_and_a_new_one_ends_the_alarm(portal: Portal) -> None:
    publish_everything()
    watch()
    assert OperatorAlert.objects.filter(kind="crl_late").count() == 0
    CRL.objects.filter(point=point()).update(next_update=database_now() + ALARM_BEFORE - timedelta(minutes=1))
    watch()
    watch()
    (alert,) = OperatorAlert.objects.filter(kind="crl_late", closed_at__isnull=True)
    assert alert.occurrences == 2
    refresh_point(point(), force=True)
    assert OperatorAlert.objects.filter(kind="crl_late", closed_at__isnull=True).count() == 0


def test_roots_crl_is_empty_and_long_lived(portal: Portal) -> None:
    issuer = publish_everything()
    assert issuer.parent is not None
    crl = published(issuer.parent)
    root = x509.load_der_x509_certificate(bytes(issuer.parent.certificate_der or b""))
    assert len(crl) == 0
    assert crl.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    assert crl.next_update_utc is not None
    assert crl.next_update_utc - crl.last_update_utc == timedelta(days=365)


def test_old_segments_are_cleared_up_and_the_published_ones_stay(portal: Portal) -> None:
    certificates = issue(portal, 3)
    issuer = publish_everything()
    for certificate in certificates:
        revoke(certificate)
        refresh_point(point())
    long_ago = database_now() - timedelta(hours=2)
    CRL.objects.update(published_at=long_ago)
    CRLSegment.objects.update(created_at=long_ago)
    refresh_point(point(), force=True)
    newest = point().published
    assert newest is not None
    assert list(CRLSegment.objects.filter(point=point()).values_list("pk", flat=True)) == newest.segments
    assert len(serials(published(issuer))) == 3
