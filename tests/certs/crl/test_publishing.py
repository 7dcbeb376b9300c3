"""What is on a CRL, when a new one is made, and what happens when two are made at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from django.db import connections, transaction

from audit.clock import database_now
from audit.models import AuditEvent
from certs.ca.base import RevocationOrder
from certs.ca.registry import get_ca_client
from certs.crl import CRLWithheld, needs_new_crl, points_of, publish_crl, publishing
from certs.crl.points import take_number
from certs.crl.segments import BooksDisagree, Snapshot, take_snapshot
from certs.models import CRL, Certificate, CRLPoint, CRLSegment, IssuanceIntent, OperatorAlert, Revocation
from certs.terms import RevocationReason
from certs.workflow.publishing import ALARM_BEFORE, abandon_old_intents, keep_status_information, open_next_shard, refresh_point, watch
from certs.workflow.revocation import request_revocation
from certs.workflow.revoking import process_revocations
from tests.portal.authority import issue, issuing_ca, publish_everything, published, revoke
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def serials(crl: x509.CertificateRevocationList) -> list[str]:
    return sorted(f"{entry.serial_number:x}" for entry in crl)


def point() -> CRLPoint:
    return points_of(issuing_ca())[0]


def number_of(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_crl_holds_what_is_revoked_with_reason_and_dates(portal: Portal) -> None:
    good, plain, told = issue(portal, 3)
    revoke(plain, "unspecified")
    since = database_now() - timedelta(days=3)
    revoke(told, "keyCompromise", invalidity_date=since)
    crl = published(publish_everything())
    assert serials(crl) == sorted([plain.serial_number, told.serial_number])
    assert crl.get_revoked_certificate_by_serial_number(int(good.serial_number, 16)) is None
    first, second = (crl.get_revoked_certificate_by_serial_number(int(one.serial_number, 16)) for one in (plain, told))
    assert first is not None
    assert list(first.extensions) == []  # a reasonCode of unspecified is left out (RFC 5280 5.3.1)
    assert second is not None
    assert second.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    assert second.extensions.get_extension_for_class(x509.InvalidityDate).value.invalidity_date_utc == since.replace(microsecond=0)
    assert second.revocation_date_utc == told.revocation.requested_at.replace(microsecond=0)


def test_pending_and_confirmed_are_both_revoked(portal: Portal) -> None:
    pending, done = issue(portal, 2)
    revoke(done)
    process_revocations()
    revoke(pending)
    assert [Certificate.objects.get(pk=one.pk).status for one in (pending, done)] == ["revocation_pending", "revoked"]
    assert serials(published(publish_everything())) == sorted([pending.serial_number, done.serial_number])


def test_revocation_reaches_the_crl_by_itself(portal: Portal, worker: None) -> None:
    """The task that a revocation starts on commit publishes too; nobody waits for the schedule."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    request_revocation(certificate, reason=RevocationReason.KEY_COMPROMISE, actor=SYSTEM)
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


def test_reason_that_was_added_later_is_on_the_next_crl(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate, "superseded")
    issuer = publish_everything()
    revoke(certificate, "keyCompromise")
    assert refresh_point(point()) is not None
    (entry,) = published(issuer)
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise


def test_abandoned_and_quarantined_are_on_the_crl_too(portal: Portal) -> None:
    """Serials that never came into the inventory: given up before they were signed, or signed and revoked at once."""
    issuer = publish_everything()
    issue(portal, 2)
    given_up, wrong = IssuanceIntent.objects.filter(profile="tls-server").order_by("pk")
    Certificate.objects.filter(serial_number__in=[given_up.serial_number, wrong.serial_number]).update(serial_number=models_hex())
    IssuanceIntent.objects.filter(pk=given_up.pk).update(state="intended", created_at=database_now() - timedelta(hours=2))
    assert abandon_old_intents() == 1
    order = RevocationOrder(int(wrong.serial_number, 16), RevocationReason.CESSATION_OF_OPERATION, database_now())
    get_ca_client(issuer.alias).revoke(order)
    assert refresh_point(point()) is not None
    assert serials(published(issuer)) == sorted([given_up.serial_number, wrong.serial_number])
    assert AuditEvent.objects.filter(event="intent:abandoned").count() == 1


def models_hex() -> Any:
    """A different value for each row, in SQL."""
    from django.db.models import CharField, F, Value  # noqa: PLC0415 - only here
    from django.db.models.functions import Cast, Concat  # noqa: PLC0415

    return Concat(Value("abc"), Cast(F("pk"), CharField()))


def test_certificate_in_the_inventory_is_listed_once(portal: Portal) -> None:
    """The CA was told, so its book knows of the revocation too: that must not make two entries."""
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    process_revocations()
    IssuanceIntent.objects.filter(serial_number=certificate.serial_number).update(revoked_at=database_now())
    assert serials(published(publish_everything())) == [certificate.serial_number]


def test_expired_certificate_stays_until_a_crl_after_its_expiry_held_it(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate)
    issuer = publish_everything()
    now, day = database_now(), timedelta(days=1)
    Certificate.objects.filter(pk=certificate.pk).update(not_after=now - 2 * day)
    CRLSegment.objects.update(earliest_expiry=now - 2 * day)
    CRL.objects.update(this_update=now - 3 * day)  # the last one is of before its expiry
    refresh_point(point(), force=True)
    refresh_point(point(), force=True)
    assert serials(published(issuer)) == [certificate.serial_number]  # they are, but not for a whole period yet
    CRL.objects.filter(number__gt=CRL.objects.filter(point=point()).order_by("number")[0].number).update(this_update=now - day)
    refresh_point(point(), force=True)
    assert serials(published(issuer)) == []


def test_one_revoked_after_it_expired_is_on_crls_for_a_period(portal: Portal) -> None:
    issuer = publish_everything()
    (certificate,) = issue(portal, 1)
    now, day = database_now(), timedelta(days=1)
    Certificate.objects.filter(pk=certificate.pk).update(not_after=now - 3 * day)
    CRL.objects.update(this_update=now - day)
    revoke(certificate, "keyCompromise")
    for _ in range(2):
        assert publish_crl(point(), actor=SYSTEM) is not None
        assert serials(published(issuer)) == [certificate.serial_number]
    CRL.objects.filter(point=point()).update(this_update=now - day)
    assert publish_crl(point(), actor=SYSTEM) is not None
    assert serials(published(issuer)) == []


def _unrevoke(certificate: Certificate) -> None:
    """What nothing in the portal does: as if somebody had changed the database by hand."""
    Revocation.objects.filter(pk=certificate.pk).delete()
    Certificate.objects.filter(pk=certificate.pk).update(status="good", status_version=99)


def test_serial_that_would_vanish_stops_the_crl_and_alarms(portal: Portal) -> None:
    kept, vanishing = issue(portal, 2)
    revoke(kept)
    revoke(vanishing)
    issuer = publish_everything()
    _unrevoke(vanishing)
    with pytest.raises(CRLWithheld, match=vanishing.serial_number):
        publish_crl(point(), actor=SYSTEM)
    assert refresh_point(point()) is None
    assert serials(published(issuer)) == sorted([kept.serial_number, vanishing.serial_number])  # the last one stays public
    assert OperatorAlert.objects.filter(kind="crl_withheld", closed_at__isnull=True).count() == 1


def test_all_serials_of_a_range_that_would_vanish_stop_the_crl(portal: Portal) -> None:
    (vanishing,) = issue(portal, 1)
    revoke(vanishing)
    publish_everything()
    _unrevoke(vanishing)
    with pytest.raises(CRLWithheld, match=vanishing.serial_number):
        publish_crl(point(), actor=SYSTEM)


def test_hold_that_was_released_leaves_the_crl(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    revoke(certificate, "certificateHold")
    issuer = publish_everything()
    assert serials(published(issuer)) == [certificate.serial_number]
    _unrevoke(certificate)
    assert refresh_point(point()) is not None
    assert serials(published(issuer)) == []


def test_revoked_certificate_without_a_revocation_stops_the_crl(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    publish_everything()
    Certificate.objects.filter(pk=certificate.pk).update(status="revoked", status_version=7)
    with pytest.raises(BooksDisagree):
        take_snapshot(point(), now=database_now())
    with pytest.raises(CRLWithheld):
        publish_crl(point(), actor=SYSTEM)


def test_ranges_that_did_not_change_are_taken_over(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.crl.segments.RANGE", 2)
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


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_revoked_while_a_crl_is_signed_is_on_the_next(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = issue(portal, 2)
    issuer = publish_everything()
    revoke(early)
    sign = publishing._sign
    once: list[bool] = []

    def signing(*arguments: Any) -> Any:
        if not once:
            once.append(True)
            _in_thread(lambda: revoke(late)).join(20)
        return sign(*arguments)

    monkeypatch.setattr(publishing, "_sign", signing)
    refresh_point(point())  # goes on until nothing is left to say
    numbers = list(CRL.objects.filter(point=point()).order_by("number").values_list("number", "count"))
    assert [count for _, count in numbers] == [0, 1, 2]
    assert serials(published(issuer)) == sorted([early.serial_number, late.serial_number])


def test_of_two_builders_at_once_the_higher_number_wins(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second builder begins while the first signs, and is done before: the first gives up, and nothing goes back."""
    early, late = issue(portal, 2)
    issuer = publish_everything()
    revoke(early)
    sign = publishing._sign
    once: list[bool] = []
    others: list[CRL | None] = []

    def second() -> None:
        revoke(late)
        others.append(publish_crl(point(), actor=SYSTEM))

    def overtaken(*arguments: Any) -> Any:
        if not once:
            once.append(True)
            _in_thread(second).join(20)
        return sign(*arguments)

    monkeypatch.setattr(publishing, "_sign", overtaken)
    assert publish_crl(point(), actor=SYSTEM) is None
    assert [crl.count for crl in others if crl] == [2]
    assert serials(published(issuer)) == sorted([early.serial_number, late.serial_number])
    taken = point().last_number
    numbers = list(CRL.objects.filter(point=point()).values_list("number", flat=True))
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == taken  # the overtaken builder's number is used up, and lower


def test_builder_that_waited_for_the_lock_sees_what_was_published_meanwhile(portal: Portal) -> None:
    publish_everything()
    mine = point()
    now = database_now()
    lower, higher = (publishing._signed(mine, take_number(mine), Snapshot(), now=now, validity=timedelta(days=3)) for _ in range(2))
    higher.published_at = now
    outcomes: list[bool] = []
    with transaction.atomic():
        row = CRLPoint.objects.select_for_update().get(pk=mine.pk)
        waiting = _in_thread(lambda: outcomes.append(publishing._publish(point(), lower, Snapshot(), actor=SYSTEM)))
        waiting.join(0.5)
        assert outcomes == []
        higher.save()
        row.published = higher
        row.save()
    waiting.join(30)
    assert (outcomes, point().published) == ([False], higher)


def test_many_builders_at_once_have_a_number_each(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    revoke(certificate)
    made: list[CRL | None] = []
    threads = [_in_thread(lambda: made.append(publish_crl(point(), actor=SYSTEM))) for _ in range(4)]
    for thread in threads:
        thread.join(60)
    numbers = [crl.number for crl in made if crl is not None]
    assert numbers
    assert len(set(numbers)) == len(numbers)
    assert number_of(published(issuer)) == max(numbers)
    assert serials(published(issuer)) == [certificate.serial_number]


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
    for shard, (certificate, *_) in enumerate((first, second)):
        crl = published(issuer, shard)
        assert serials(crl) == [certificate.serial_number]
        idp = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        points = x509.load_der_x509_certificate(bytes(certificate.body.der)).extensions.get_extension_for_class(x509.CRLDistributionPoints)
        assert idp.critical
        assert idp.value.full_name == points.value[0].full_name
        assert idp.value.only_some_reasons is None
        assert idp.value.indirect_crl is False


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
