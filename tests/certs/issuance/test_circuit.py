"""The circuit breaker of a CA under two transactions at once."""

from __future__ import annotations

import pytest
from django.db import transaction

from certs.issuance import recovery
from certs.models import CertificateRequest, Issuer, QuarantinedCertificate
from certs.notifications.alerts import close_circuit, open_circuit
from certs.requests.submit import Requester, submit_many
from db.clock import database_now
from tests.certs.requests.test_outcomes import MakeSpec
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = pytest.mark.django_db(transaction=True)


def quarantine(request: CertificateRequest) -> None:
    QuarantinedCertificate.objects.create(
        request=request,
        issuer=request.issuer,
        order_ref=request.public_id,
        der=b"wrong",
        reasons=["another key"],
        received_at=database_now(),
    )


def stop(request: CertificateRequest) -> None:
    quarantine(request)
    open_circuit(request.issuer, "wrong answer", next_step="Look at it.", now=database_now())


@pytest.fixture
def stopped(twin_portal: Requester, make_spec: MakeSpec) -> CertificateRequest:
    """A request whose wrong certificate is settled already, at a CA that is still stopped."""
    (request,) = submit_many([make_spec()], requester=twin_portal)
    with transaction.atomic():
        stop(request)
    QuarantinedCertificate.objects.update(revoked_at=database_now())
    return request


def test_circuit_is_not_closed_over_a_mismatch_that_is_recorded_meanwhile(
    stopped: CertificateRequest,
) -> None:
    """K8, review 6.10: the close was decided by an earlier query, and overwrote the mismatch."""
    seen = Issuer.objects.get(pk=stopped.issuer_id)

    def close() -> None:
        with transaction.atomic():
            close_circuit(seen, now=database_now())

    with transaction.atomic():
        stop(stopped)
        closer = in_thread(close)
        until_it_waits_for_a_lock()
    closer.join(30)
    assert Issuer.objects.get(pk=seen.pk).circuit_opened_at is not None


def test_circuit_with_an_unsettled_certificate_is_not_closed(stopped: CertificateRequest) -> None:
    quarantine(stopped)
    with transaction.atomic():
        seen = Issuer.objects.get(pk=stopped.issuer_id)
        assert close_circuit(seen, now=database_now()) is False
    assert Issuer.objects.get(pk=stopped.issuer_id).circuit_opened_at is not None


def test_circuit_closes_once_all_is_settled(stopped: CertificateRequest) -> None:
    recovery.revoke_quarantined()
    assert Issuer.objects.get(pk=stopped.issuer_id).circuit_opened_at is None
