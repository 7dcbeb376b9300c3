"""What is on a CRL, for how long, and what stops one that would take back what is public."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from audit.models import AuditEvent
from certs.ca.base import RevocationOrder
from certs.ca.registry import get_ca_client
from certs.enums import RevocationReason
from certs.models import CRL, Certificate, CRLSegment, IssuanceIntent, OperatorAlert, Revocation
from certs.revocation.deliver import process_revocations
from certs.status.crl import CRLWithheld, publish_crl
from certs.status.crl.segments import RowsContradict, take_snapshot
from certs.status.publishing import abandon_old_intents, refresh_point
from db.clock import database_now
from tests.certs.status.crl.lists import point, serials
from tests.portal.authority import issue, publish_everything, published, revoke
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


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
    with pytest.raises(RowsContradict):
        take_snapshot(point(), now=database_now())
    with pytest.raises(CRLWithheld):
        publish_crl(point(), actor=SYSTEM)
