"""A request that waits says why within seconds, at every channel."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client

from certs.models import Attempt, CertificateRequest
from certs.requests.representation import answer
from certs.requests.submit import submit_many
from db.clock import database_now
from pkiportal.celery import app
from tests.certs import steps
from tests.certs.requests.test_outcomes import MakeSpec
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_broker() -> Iterator[None]:
    app.control.purge()
    yield
    app.control.purge()


@pytest.fixture
def request_of_alice(portal: Portal, make_spec: MakeSpec) -> CertificateRequest:
    (request,) = submit_many([make_spec("waits.example.com")], requester=portal.requester())
    return request


def standing_for(request: CertificateRequest, *, seconds: int) -> CertificateRequest:
    since = database_now() - timedelta(seconds=seconds)
    CertificateRequest.objects.filter(pk=request.pk).update(state_changed_at=since)
    return CertificateRequest.objects.select_related("issuer").get(pk=request.pk)


def test_request_that_nobody_took_up_names_its_queue_at_every_channel(portal: Portal, request_of_alice: CertificateRequest) -> None:
    """F6: 161 requests stood without a reason; the sweeper gave one after 30 s only."""
    api, bearer = Client(), {"Authorization": f"Bearer {portal.token('certificates:read')}"}
    page = f"/requests/{request_of_alice.public_id}/"
    alice = signed_in("alice")
    before = alice.get(page).context["version"]
    row = standing_for(request_of_alice, seconds=5)
    expected = "Waits for a worker of the queue policy, since "
    assert answer(row)["error"].startswith(expected)
    path = f"/api/v1/requests/{row.public_id}"
    assert api.get(path, headers=bearer).json()["error"].startswith(expected)
    (listed,) = api.get("/api/v1/requests", headers=bearer).json()["requests"]
    assert listed["error"].startswith(expected)
    moved = alice.get(f"{page}steps/?seen={before}")
    assert expected in moved.content.decode()
    assert alice.get(f"{page}steps/?seen={moved.context['version']}").status_code == 204


def test_request_at_a_remote_ca_names_both_queues(portal: Portal, request_of_alice: CertificateRequest) -> None:
    """F6: the worker that hands over may be away as well as the one that asks."""
    CertificateRequest.objects.filter(pk=request_of_alice.pk).update(state="csr_created")
    row = standing_for(request_of_alice, seconds=5)
    assert answer(row)["error"].startswith("Waits for a worker of the queue ca, since ")
    row.issuer.alias = "elsewhere"
    assert answer(row)["error"].startswith("Waits for a worker of the queue ca or ca-remote, ")


def test_request_whose_ca_has_not_answered_says_since_when(portal: Portal, request_of_alice: CertificateRequest) -> None:
    """F6: the requests of the batch that the CA leaves hanging."""
    CertificateRequest.objects.filter(pk=request_of_alice.pk).update(state="csr_created")
    row, now = standing_for(request_of_alice, seconds=5), database_now()
    lease = now + timedelta(seconds=30)
    Attempt.objects.create(request=row, step="submit", number=1, opened_at=now, lease_until=lease)
    assert answer(row)["error"] == (f"{row.issuer.name} was asked at {now:%H:%M:%S} UTC and has not answered yet.")


def test_request_that_moves_has_no_reason(portal: Portal, request_of_alice: CertificateRequest) -> None:
    """F6: a reason that flashes by at every step would say nothing."""
    assert answer(request_of_alice)["error"] == "Not finished yet"
    standing_for(request_of_alice, seconds=5)
    steps.check_policy([request_of_alice.pk])
    request_of_alice.refresh_from_db()
    assert answer(request_of_alice)["error"] == "Not finished yet"
