"""A line of a bulk order that waits says why within seconds, at every channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.test import Client

from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.submit import submit_order
from certs.models import BulkChunk, BulkOrder, CertificateRequest
from certs.spec import CertificateSpec
from db.clock import database_now
from pkiportal.celery import app
from tests.certs.bulk.orders import begin, drafted
from tests.journeys.test_channels import signed_in
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def empty_broker() -> Iterator[None]:
    app.control.purge()
    yield
    app.control.purge()


@pytest.fixture
def order(portal: Portal, make_spec: Callable[..., CertificateSpec]) -> BulkOrder:
    """In the queue, with no worker."""
    specs = [make_spec(f"{name}.example.com") for name in "ab"]
    requester = portal.requester()
    order = submit_order(drafted(specs, requester), authority=Authority(requester.actor))
    dispatch.dispatch()
    return order


def shown(order: BulkOrder, portal: Portal) -> list[str]:
    """The reasons in REST's lines, in the page's table and above it."""
    bearer = {"Authorization": f"Bearer {portal.token('certificates:read')}"}
    answer = Client().get(f"/api/v1/bulk/{order.public_id}/items", headers=bearer).json()
    alice, path = signed_in("alice"), f"/bulk/{order.public_id}/"
    table = alice.get(f"{path}lines/?show=all").context["lines"].rows
    live = alice.get(f"{path}live/").context["seen"].waits_for
    return [*(line["reason"] for line in answer["items"]), *(line.reason for line in table), live]


def test_lines_that_no_worker_took_up_name_the_queue(portal: Portal, order: BulkOrder) -> None:
    assert shown(order, portal) == [""] * 5
    since = database_now() - timedelta(seconds=5)
    BulkChunk.objects.filter(order=order).update(queued_at=since)
    expected = f"Waits for a worker of the queue keys-bulk, since {since:%H:%M:%S} UTC."
    assert shown(order, portal) == [expected] * 5


def test_requests_that_no_worker_goes_on_with_name_the_queue(portal: Portal, order: BulkOrder) -> None:
    for chunk in order.chunks.all():
        begin(chunk.pk)
    assert shown(order, portal) == [""] * 5
    since = database_now() - timedelta(seconds=5)
    CertificateRequest.objects.update(state_changed_at=since)
    expected = f"Waits for a worker of the queue keys-bulk, since {since:%H:%M:%S} UTC."
    assert shown(order, portal) == [expected] * 5


def test_page_asks_for_its_table_again_when_a_reason_appears(portal: Portal, order: BulkOrder) -> None:
    alice, path = signed_in("alice"), f"/bulk/{order.public_id}/live/"
    key = alice.get(path).context["key"]
    assert "HX-Trigger" not in alice.get(path, {"said": key})
    since = database_now() - timedelta(seconds=5)
    BulkChunk.objects.filter(order=order).update(queued_at=since)
    assert alice.get(path, {"said": key})["HX-Trigger"] == "order-moved"


def test_chunk_whose_requests_are_finished_waits_for_no_worker(portal: Portal, order: BulkOrder) -> None:
    """Only its last task, which closes it, is still to come."""
    for chunk in order.chunks.all():
        begin(chunk.pk)
    since = database_now() - timedelta(seconds=5)
    BulkChunk.objects.filter(order=order).update(queued_at=since)
    CertificateRequest.objects.update(state="completed", state_changed_at=since)
    assert shown(order, portal) == [""] * 5
