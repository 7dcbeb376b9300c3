"""The key of an OCSP responder is destroyed, with its receipt, once no answer signed with it can be valid, and not a day before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit.models import AuditEvent
from certs.ca.local.ocsp_responder import ensure_responder
from certs.ca.local.setup import ensure_key
from certs.models import ResponderCertificate
from certs.reconciliation.status import reconcile_status
from certs.revocation.key_destruction import process_destructions
from certs.status.maintenance import keep_status_information
from certs.status.ocsp.signers import forget_signers
from certs.status.responder_keys import destroy_old_responder_keys
from db.clock import database_now
from keys.models import Key, LocalKeyMaterial
from keys.spec import KeySpec
from tests.certs.status.ocsp.questions import said
from tests.portal.authority import issue, issuing_ca, publish_everything
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def aged(responder: ResponderCertificate, *, ended: timedelta) -> ResponderCertificate:
    """As if it had been made that much longer ago, so that its certificate ended `ended` ago; its period is another one then."""
    by = responder.not_after - database_now() + ended
    ResponderCertificate.objects.filter(pk=responder.pk).update(
        not_before=responder.not_before - by, not_after=responder.not_after - by, order_ref=f"{responder.order_ref}-of-old"
    )
    claimed = responder.key.claimed_at - by
    Key.objects.filter(pk=responder.key_id).update(claimed_for=f"{responder.key.claimed_for}-of-old", claimed_at=claimed)
    responder.issuer.intents.filter(order_ref=responder.order_ref).update(order_ref=f"{responder.order_ref}-of-old")
    responder.refresh_from_db()
    return responder


def test_key_of_a_responder_that_is_over_is_destroyed_with_a_receipt(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    publish_everything()
    issuer = issuing_ca()
    old = aged(ensure_responder(issuer, actor=SYSTEM), ended=timedelta(days=1, minutes=1))
    keep_status_information()  # makes the next responder, and sees that the old one is over
    process_destructions()
    key = Key.objects.get(pk=old.key_id)
    assert key.state == Key.State.DESTROYED
    assert not LocalKeyMaterial.objects.filter(key_id=key.pk).exists()
    requested, receipt = AuditEvent.objects.filter(subject=f"key:{key.pk}", event__startswith="key:destr").order_by("pk")
    assert (requested.event, receipt.event) == ("key:destruction_requested", "key:destroyed")
    assert (receipt.data["certificates"], receipt.data["spki_sha256"]) == ([old.order_ref], key.spki_sha256)
    assert Key.objects.filter(purpose="ocsp", state="active").count() == 1
    assert [books.count for books in reconcile_status(actor=SYSTEM)] == [0]  # the new one answers
    assert (destroy_old_responder_keys(), process_destructions()) == (0, 0)
    assert certificate.issuer_id == issuer.pk


def test_responder_whose_answers_may_still_be_valid_keeps_its_key(portal: Portal) -> None:
    old = aged(ensure_responder(issuing_ca(), actor=SYSTEM), ended=timedelta(hours=23))
    assert destroy_old_responder_keys() == 0
    assert Key.objects.get(pk=old.key_id).state == Key.State.ACTIVE


def test_key_that_never_got_its_certificate_goes_too(portal: Portal) -> None:
    """Its maker died between key and certificate, and the period went by."""
    orphan = ensure_key("ocsp:1:internal-ca-prod", "OCSP old", KeySpec.EC_P256, backend="local", purpose=Key.Purpose.OCSP, actor=SYSTEM)
    assert destroy_old_responder_keys() == 0
    Key.objects.filter(pk=orphan.pk).update(claimed_at=database_now() - timedelta(days=4, minutes=1))
    assert destroy_old_responder_keys() == 1
    process_destructions()
    assert Key.objects.get(pk=orphan.pk).state == Key.State.DESTROYED


def test_no_answer_outlives_its_responders_certificate(portal: Portal) -> None:
    """What the destruction relies on."""
    (certificate,) = issue(portal, 1)
    publish_everything()
    issuer = issuing_ca()
    responder = aged(ensure_responder(issuer, actor=SYSTEM), ended=timedelta(minutes=-3))
    forget_signers()
    reply = said(certificate)
    assert reply.next_update_utc is not None
    assert reply.next_update_utc <= responder.not_after
