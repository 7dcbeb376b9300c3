"""Sweeps while workers are away: the broker does not fill up with what is sent again and again, and nothing is forgotten either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from celery import current_app
from django.apps import apps
from django.conf import settings as django_settings
from django.db import connection, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.submit import submit_order
from certs.issuance.recovery import restart_stalled
from certs.models import CertificateRequest
from certs.pipeline import queue_of, room_in
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from pkiportal.celery import app
from tests.certs.bulk.orders import drafted
from tests.portal.threads import in_thread

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]  # with PostgreSQL the broker is a real Redis
AFTER_SECONDS = django_settings.PKI_SWEEP_AFTER_SECONDS
SWEEPS = 60  # five minutes of them; once the queue is full, one does what the last one did


@pytest.fixture(autouse=True)
def empty_broker(settings: Any) -> Iterator[None]:
    settings.PKI_SWEEP_QUEUE_MOST, settings.PKI_SWEEP_AFTER_SECONDS = 5, 0
    app.control.purge()
    yield
    app.control.purge()


def waiting(queue: str) -> int:
    with current_app.connection_for_write() as connection, contextlib.suppress(*connection.channel_errors):
        return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    return 0


def long_ago() -> None:
    CertificateRequest.objects.update(state_changed_at=database_now() - timedelta(minutes=5))


def test_sweeps_without_workers_do_not_fill_the_queue(twin_portal: Requester, make_spec: MakeSpec) -> None:
    submit_many([make_spec(f"n{n}.example.com") for n in range(3)], requester=twin_portal)
    CertificateRequest.objects.update(losses=8)  # each in a chain of its own
    long_ago()
    assert waiting("policy") == 1
    for _ in range(SWEEPS):
        restart_stalled()
    assert (waiting("policy"), room_in("policy")) == (5, 0)
    app.control.purge()  # Redis came back empty
    assert restart_stalled() == 3
    assert waiting("policy") == 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_sweep_waits_for_no_request_that_is_being_worked_on(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """It locked the rows that it told why they wait, in any order, and waited for a worker that waited for it: a deadlock."""
    rows = submit_many([make_spec(f"n{n}.example.com") for n in range(3)], requester=twin_portal)
    long_ago()
    with transaction.atomic():
        CertificateRequest.objects.select_for_update().get(pk=rows[1].pk)
        sweep = in_thread(restart_stalled)
        sweep.join(20)
        assert not sweep.is_alive()
    told = CertificateRequest.objects.exclude(error="").values_list("pk", flat=True)
    assert sorted(told) == [rows[0].pk, rows[2].pk]


def test_what_a_dead_worker_had_in_hand_goes_on_within_the_minute() -> None:
    """Its lease may have begun as it died; then comes the sweeper's next turn, and the work itself."""
    turns = {str(entry["task"]): int(str(entry["every_seconds"])) for entry in django_settings.PKI_SCHEDULES.values()}
    assert django_settings.PKI_ATTEMPT_LEASE_SECONDS + turns["certs.tasks.sweep"] <= 50
    assert AFTER_SECONDS + turns["certs.tasks.sweep_bulk"] <= 50


def test_one_turn_leaves_nothing_for_the_next(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    """Chunks of bulk orders that were in hand together are thousands of requests."""
    settings.PKI_SWEEP_QUEUE_MOST = 50
    specs = [make_spec(f"n{n}.example.com") for n in range(1100)]
    submit_many(specs, requester=twin_portal)
    long_ago()
    app.control.purge()
    assert restart_stalled() == len(specs)


def test_chunks_that_never_began_are_not_sent_for_ever(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    settings.PKI_BULK_CHUNK = 1
    order = submit_order(drafted([make_spec(f"n{n}.example.com") for n in range(6)], twin_portal), authority=Authority(twin_portal.actor))
    app.control.purge()
    lane = queue_of("certs.tasks.make_chunk", bulk=True)
    assert (dispatch.dispatch(), waiting(lane)) == (4, 4)
    for _ in range(SWEEPS):
        dispatch.sweep_chunks()
    assert waiting(lane) == 5
    app.control.purge()
    dispatch.sweep_chunks()
    assert (waiting(lane), order.chunks.filter(state="queued").count()) == (4, 4)


def test_a_chunk_is_sent_again_only_after_some_quiet(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    settings.PKI_SWEEP_AFTER_SECONDS = 30
    submit_order(drafted([make_spec()], twin_portal), authority=Authority(twin_portal.actor))
    dispatch.dispatch()
    chunk = twin_portal.team.bulk_orders.get().chunks.get()
    type(chunk).objects.update(queued_at=database_now() - timedelta(seconds=31))
    app.control.purge()
    lane = queue_of("certs.tasks.make_chunk", bulk=True)
    for _ in range(3):
        dispatch.sweep_chunks()
    assert waiting(lane) == 1


@pytest.mark.parametrize(("set_to", "becomes"), [(15, 5), (60, 60)])
def test_older_portals_sweep_more_often_too_unless_somebody_has_set_a_time(set_to: int, becomes: int) -> None:
    PeriodicTask.objects.all().delete()
    interval, _ = IntervalSchedule.objects.get_or_create(every=set_to, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(name="workflow: start again what stands still", task="certs.tasks.sweep", interval=interval)
    migration = import_module("certs.migrations.0011_sweep_every_five_seconds")
    migration.every(5, instead_of=15)(apps, None)
    assert PeriodicTask.objects.get().interval.every == becomes
