"""A CA mixes up its replies: good certificates stay good, and what was ordered is not lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.ca.base import Lookup
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable
from certs.issuance.steps.ca_call import order_for
from certs.models import (
    Attempt,
    Certificate,
    CertificateRequest,
    Issuer,
    OperatorAlert,
    QuarantinedCertificate,
    UnclaimedResult,
    UnknownCertificate,
)
from certs.reconciliation.ca import reconcile_ca
from certs.requests.approvals import approval
from certs.requests.submit import Requester
from db.clock import database_now
from tests.certs import steps
from tests.certs.books import assert_balanced
from tests.certs.issuance.test_schedules import walk
from tests.certs.requests.test_outcomes import MakeSpec, ask
from tests.portal.commands import run
from tests.twins.ca import Fault, TwinCAClient

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor("system", "test")


@pytest.fixture
def good(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> Certificate:
    request = ask(twin_portal, make_spec("good.example.com"))
    walk([request.pk])
    return Certificate.objects.get(request=request)


def serial_and_state(ca: TwinCAClient) -> list[bool]:
    return [one.revoked for one in ca.book.signed]


def answered(request: CertificateRequest) -> CertificateRequest:
    walk([request.pk])
    request.refresh_from_db()
    return request


def test_certificate_on_record_is_never_revoked_by_quarantine(
    good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F1: it was revoked at the CA while the inventory went on saying "good"."""
    twin_ca.faults = [Fault.ANOTHERS]
    request = answered(ask(twin_portal, make_spec("next.example.com")))
    for _ in range(3):
        assert recovery.revoke_quarantined() == 0
    assert serial_and_state(twin_ca) == [False, False]
    good.refresh_from_db()
    assert good.status == Certificate.Status.GOOD
    assert Issuer.objects.get().circuit_opened_at is not None
    alert = OperatorAlert.objects.get(kind="ca_stopped", closed_at=None)
    assert good.cert_id in alert.message
    assert f"--settle {good.serial_number}" in alert.next_step
    assert request.state == S.COMPLETED  # F2: by its reference the CA has the one ordered
    assert_balanced_but_for_quarantine(request, twin_ca)


def assert_balanced_but_for_quarantine(request: CertificateRequest, ca: TwinCAClient) -> None:
    unsettled = QuarantinedCertificate.objects.filter(revoked_at=None)
    ids = list(unsettled.values_list("pk", flat=True))
    unsettled.update(revoked_at=database_now())
    assert_balanced(request, ca)
    QuarantinedCertificate.objects.filter(pk__in=ids).update(revoked_at=None)


def test_orders_go_on_once_a_person_has_settled_it(
    good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F1: a person decides."""
    twin_ca.faults = [Fault.ANOTHERS]
    answered(ask(twin_portal, make_spec("next.example.com")))
    waiting = answered(ask(twin_portal, make_spec("waiting.example.com")))
    assert waiting.state == S.CSR_CREATED
    code, _ = run("reconcile_ca", "--settle", good.serial_number, "--because", "replies were swapped, the CA is repaired")
    assert code == 0
    assert Issuer.objects.get().circuit_opened_at is None
    assert not OperatorAlert.objects.filter(kind="ca_stopped", closed_at=None).exists()
    assert AuditEvent.objects.filter(event="ca:reconciled").count() == 1
    assert answered(waiting).state == S.COMPLETED
    assert not any(serial_and_state(twin_ca))


def test_certificate_that_another_order_waits_for_is_not_revoked(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F1: the reply of two orders swapped, before either is on record."""
    first, second = (ask(twin_portal, make_spec(f"{name}.example.com")) for name in ("a", "b"))
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([first.pk, second.pk])
    twin_ca.faults = [Fault.ANSWER_LOST]
    with pytest.raises(Unavailable):
        steps.submit_to_ca([first.pk])  # signed, but its reply is lost
    twin_ca.faults = [Fault.ANOTHERS]
    steps.submit_to_ca([second.pk])
    assert recovery.revoke_quarantined() == 0
    assert not any(serial_and_state(twin_ca))
    assert first.public_id in OperatorAlert.objects.get(kind="ca_stopped").message


def test_late_reply_with_anothers_certificate_revokes_nothing(
    good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F1, same kind: the reaper of unclaimed results revoked it too."""
    request = ask(twin_portal, make_spec("late.example.com"))
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    now = database_now()
    attempt = Attempt.objects.create(request=request, step="submit", number=1, lease_until=now, opened_at=now, closed_at=now)
    UnclaimedResult.objects.create(request=request, attempt=attempt, kind="certificate", payload=bytes(good.body.der), brought_at=now)
    approval.cancel(CertificateRequest.objects.get(pk=request.pk), authority=Authority(SYSTEM))
    assert recovery.settle_unclaimed() == 1
    assert not any(serial_and_state(twin_ca))
    assert good.cert_id in OperatorAlert.objects.get(kind="certificate_of_another").message


class ForgetfulCA(TwinCAClient):
    """Answers each look-up with the first certificate that it ever signed."""

    def find(self, order: Any) -> Any:
        return self.issued(self.book.signed[0])._replace(order_ref=order.order_ref)


def test_look_up_with_anothers_certificate_revokes_nothing(
    good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F1, same kind: clearing up after a cancelled request revoked what the CA answered."""
    twin_ca.faults = [Fault.DOWN]
    request = answered(ask(twin_portal, make_spec("cancelled.example.com")))
    Attempt.objects.filter(request=request, step="submit").update(outcome="unknown")
    approval.cancel(request, authority=Authority(SYSTEM))
    twin_ca.__class__ = ForgetfulCA
    assert recovery.clear_after_the_end() == 1
    assert not any(serial_and_state(twin_ca))
    assert good.cert_id in OperatorAlert.objects.get(kind="certificate_of_another").message
    assert recovery.clear_after_the_end() == 0


@pytest.mark.parametrize("fault", [Fault.ANOTHERS, Fault.CUT])
def test_certificate_ordered_is_asked_for_before_the_request_ends(
    fault: Fault, good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F2: after a wrong or cut reply it lived at the CA and was on no record here."""
    twin_ca.faults = [fault]
    request = answered(ask(twin_portal, make_spec("ordered.example.com")))
    assert request.state == S.COMPLETED
    assert {bytes(c.body.der) for c in Certificate.objects.all()} == {one.der for one in twin_ca.book.signed}
    assert QuarantinedCertificate.objects.filter(request=request).count() == 1
    assert Issuer.objects.get().circuit_opened_at is not None


@pytest.mark.parametrize("lookup", [Lookup.BY_ORDER_REF, Lookup.BY_LISTING])
def test_request_waits_while_the_ca_cannot_say_what_it_signed(
    lookup: Lookup, good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F2: failed at once, its certificate would be asked for by nobody."""
    twin_ca.capabilities = replace(twin_ca.capabilities, lookup=lookup)
    twin_ca.faults = [Fault.CUT]
    twin_ca.find_fails = 1
    request = answered(ask(twin_portal, make_spec("ordered.example.com")))
    assert (request.state, Attempt.objects.get(request=request, step="submit").outcome) == (S.CSR_CREATED, "unknown")
    recovery.revoke_quarantined()  # it is unreadable: nothing to revoke, orders go on
    assert answered(request).state == S.COMPLETED
    assert len(twin_ca.book.living(request.public_id)) == 1


def test_certificate_that_is_signed_after_the_request_failed_is_adopted(
    good: Certificate, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F2: clean-up asks by the order's reference too."""
    twin_ca.capabilities = replace(twin_ca.capabilities, lookup=Lookup.NONE)  # nobody can ask at first
    twin_ca.faults = [Fault.CUT]
    request = answered(ask(twin_portal, make_spec("ordered.example.com")))
    assert request.state == S.FAILED
    twin_ca.capabilities = replace(twin_ca.capabilities, lookup=Lookup.BY_ORDER_REF)
    recovery.revoke_quarantined()
    assert recovery.clear_after_the_end() == 1
    assert answered(request).state == S.COMPLETED
    assert len(twin_ca.book.living(request.public_id)) == 1


def test_failed_request_whose_certificate_is_not_at_the_ca_stays_failed(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    twin_ca.faults = [Fault.WRONG_KEY]
    request = answered(ask(twin_portal, make_spec()))
    assert request.state == S.FAILED
    twin_ca.book.signed.clear()
    assert recovery.clear_after_the_end() == 1
    request.refresh_from_db()
    assert (request.state, Attempt.objects.get(request=request, step="submit").outcome) == (S.FAILED, "cleared")


def test_reconciliation_names_the_request_that_ordered_an_unknown_certificate(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """F2: a day later the portal blamed somebody else."""
    request = ask(twin_portal, make_spec())
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    request.refresh_from_db()
    stray = twin_ca.sign(order_for(request, request.csr, now=database_now() - timedelta(hours=2)))
    approval.cancel(request, authority=Authority(SYSTEM))
    twin_ca.lists = True
    assert len(reconcile_ca(Issuer.objects.get())["found"]) == 1
    assert UnknownCertificate.objects.get().serial_number == f"{stray.serial:x}"
    message = OperatorAlert.objects.get(kind="unknown_certificate").message
    assert f"ordered by {request.public_id} (cancelled)" in message
