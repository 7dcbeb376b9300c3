"""Two transactions at the same moment, on PostgreSQL, where both can be open: who waits for whom, and what the later one finds."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction

from certs.ca.base import RevocationOrder
from certs.ca.registry import get_ca_client
from certs.enums import RequestState as S
from certs.enums import RevocationReason
from certs.issuance.synchronous import Call, issue_now
from certs.models import Certificate, CertificateRequest, IssuanceIntent
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.spec import spki_der
from tests.certs.life import new_policy
from tests.certs.steps import check_policy, submit_to_ca
from tests.portal.fixtures import Portal
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


def spec(name: str) -> CertificateSpec:
    spki = spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())
    return CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=b"", spki_der=spki)


def test_revocation_of_what_is_being_recorded_finds_it_recorded(portal: Portal) -> None:
    """The reaper comes with a late answer's serial number while beat 3 records it: the inventory decides, the book is left alone."""
    (request,) = submit_many([spec("race.example.com")], requester=portal.requester())
    check_policy([request.pk])
    submit_to_ca([request.pk], complete=True)
    intent = IssuanceIntent.objects.get(order_ref=request.public_id)
    body = Certificate.objects.select_related("body").get(request=request).body
    client = get_ca_client(intent.issuer.alias)
    order = RevocationOrder(int(intent.serial_number, 16), RevocationReason.SUPERSEDED, database_now(), bytes(body.der))
    with transaction.atomic():  # as if it were not recorded yet
        Certificate.objects.filter(request=request).update(serial_number="1")
    with transaction.atomic():
        IssuanceIntent.objects.select_for_update().get(pk=intent.pk)
        reaper = in_thread(lambda: client.revoke(order))
        until_it_waits_for_a_lock()
        Certificate.objects.filter(request=request).update(serial_number=intent.serial_number)
    reaper.join(30)
    intent.refresh_from_db()
    assert (intent.state, intent.revoked_at) == (IssuanceIntent.State.SIGNED, None)


def test_of_two_calls_for_the_same_names_at_once_one_is_a_duplicate(portal: Portal) -> None:
    new_policy("v3", duplicates={"inventory": "deny"})
    requester = portal.requester()
    with transaction.atomic():
        submitted = submit_many([spec("twin.example.com")], requester=requester)
        check_policy([row.pk for row in submitted])
        later = in_thread(lambda: issue_now(Call(spec("twin.example.com"), requester)))
        until_it_waits_for_a_lock()
    later.join(30)
    states = list(CertificateRequest.objects.order_by("pk").values_list("state", flat=True))
    assert states == [S.CSR_CREATED, S.REJECTED]


def test_older_request_that_is_judged_later_is_the_duplicate(portal: Portal) -> None:
    """The policy let the younger one pass while the older one waited its turn: it may be on its way to the CA by now."""
    new_policy("v3", duplicates={"inventory": "deny"})
    (older,) = submit_many([spec("twin.example.com")], requester=portal.requester())
    CertificateRequest.objects.filter(pk=older.pk).update(common_name="elsewhere.example.com")  # as if it had not committed yet
    younger = issue_first_half(portal)
    CertificateRequest.objects.filter(pk=older.pk).update(common_name="twin.example.com")
    check_policy([older.pk])
    older.refresh_from_db()
    younger.refresh_from_db()
    assert (older.state, younger.state) == (S.REJECTED, S.CSR_CREATED)


def issue_first_half(portal: Portal) -> CertificateRequest:
    (request,) = submit_many([spec("twin.example.com")], requester=portal.requester())
    check_policy([request.pk])
    return request
