"""Bulk orders on real workers, PostgreSQL and Redis, while workers are killed and Redis forgets everything (RELIABILITY F1 to F4).

PKI_FAULT_LINES and PKI_FAULT_KILLS make the orders larger than the suite has time for; the numbers of the issue were run with
them (docs/performance.md).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings

from audit.log import Actor
from audit.models import AuditEvent
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from audit.verification.verify import verify
from bench.csrs import make_csr
from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.drafting.draft import draft
from certs.bulk.progress import counts
from certs.bulk.submit import submit_order
from certs.ca.local.setup import ensure_own_ca
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.models import Attempt, BulkOrder, Certificate, CertificateRequest, Domain, IssuanceIntent, Team
from certs.requests.representation import wait
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from db.clock import database_now
from keys.models import Key
from keys.spec import KeySpec
from pkiportal.celery import app
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.faults.processes import Worker, environment

pytestmark = pytest.mark.django_db(transaction=True)

LINES = int(os.environ.get("PKI_FAULT_LINES", "240"))
KILLS = int(os.environ.get("PKI_FAULT_KILLS", "6"))
PATIENCE = 90 + LINES / 20  # seconds
SYSTEM = Actor("system", "test")
SHORT = {"PKI_ATTEMPT_LEASE_SECONDS": "5", "PKI_SWEEP_AFTER_SECONDS": "2", "PKI_BULK_CHUNK": os.environ.get("PKI_FAULT_CHUNK", "20")}


@pytest.fixture
def requester(settings: Any, tmp_path: Path) -> Requester:
    settings.AUDIT_HOME = tmp_path  # each test seals a tree of its own
    settings.PKI_ATTEMPT_LEASE_SECONDS, settings.PKI_SWEEP_AFTER_SECONDS, settings.PKI_BULK_CHUNK = 5, 2, 20
    settings.PKI_EMBEDDED = False
    ensure_sealing_key()
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    ensure_own_ca(name="Internal-CA-Prod", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    return Requester(actor=SYSTEM, team=team, channel="portal")


@pytest.fixture
def worker(requester: Requester, tmp_path: Path) -> Iterator[Worker]:
    app.control.purge()
    with Worker(tmp_path / "worker.log", environment(**SHORT)) as running:
        yield running


def half_brought(count: int) -> list[Line]:
    """Every other line brings its CSR, in runs of 20, so that both kinds of chunk are there."""
    lines = []
    for number in range(1, count + 1):
        name = f"n{number}.example.com"
        der, spki, _ = make_csr(name) if number // 20 % 2 else (None, None, name)
        lines.append(
            Line(number, f"row {number}", CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=der, spki_der=spki))
        )
    return lines


def ordered(requester: Requester, count: int) -> BulkOrder:
    return submit_order(draft(half_brought(count), requester=requester, title="faults"), authority=Authority(SYSTEM))


def beat_once() -> None:
    """What beat does every 5 to 15 s."""
    recovery.restart_stalled()
    dispatch.sweep_chunks()
    recovery.settle_unclaimed()


def finished(order: BulkOrder, worker: Worker, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        order.refresh_from_db()
        if order.finished_at is not None:
            return
        assert time.monotonic() < deadline, (counts(order), worker.log.read_text()[-3000:])
        time.sleep(0.5)
        beat_once()


def assert_exactly(order: BulkOrder, count: int) -> None:
    """Exactly that many certificates, one for a line; no key without a certificate; each told once; the order said "done" once."""
    assert (order.state, counts(order).issued) == ("done", count)
    assert Certificate.objects.count() == count
    assert CertificateRequest.objects.filter(bulk_item__order=order, state=S.COMPLETED).values("bulk_item").distinct().count() == count
    assert Certificate.objects.values("issuer", "serial_number").distinct().count() == count
    signed = set(IssuanceIntent.objects.filter(state="signed").values_list("serial_number", flat=True))
    assert signed == set(Certificate.objects.values_list("serial_number", flat=True))
    used = set(Certificate.objects.filter(key__isnull=False).values_list("key", flat=True))
    assert set(Key.objects.filter(purpose="leaf").values_list("pk", flat=True)) == used
    for event in ("request:submitted", "certificate:issued", "certificate:recorded"):
        subjects = list(AuditEvent.objects.filter(event=event).values_list("subject", flat=True))
        assert (len(subjects), len(set(subjects))) == (count, count), event
    assert AuditEvent.objects.filter(event="bulk:completed", subject=order.subject).count() == 1
    while seal():
        pass
    assert verify(now=database_now()).success


def wait_until(done: Callable[[], bool], *, seconds: float, beat: bool = False) -> None:
    deadline, swept = time.monotonic() + seconds, time.monotonic()
    while not done():
        assert time.monotonic() < deadline, "the worker does not work"
        time.sleep(0.01)
        if beat and time.monotonic() > swept + 1:
            beat_once()
            swept = time.monotonic()


def test_killed_workers_leave_exactly_what_was_ordered(requester: Requester, worker: Worker) -> None:
    order = ordered(requester, LINES)
    dice = random.Random(20261124)  # noqa: S311 - the same choices in every run
    for _ in range(KILLS):
        goal = AuditEvent.objects.count() + max(1, 5 * LINES // KILLS)
        wait_until(lambda goal=goal: AuditEvent.objects.count() > goal or done(order), seconds=60, beat=True)  # type: ignore[misc]
        if dice.random() < 0.5:
            worker.kill_child(dice)
        else:
            worker.kill()
            worker.start()
    finished(order, worker, seconds=PATIENCE)
    assert_exactly(order, LINES)
    assert Attempt.objects.filter(outcome="lost").exists() or LINES < 100, "no kill hit a worker at work: this run proved nothing"


def done(order: BulkOrder) -> bool:
    return BulkOrder.objects.get(pk=order.pk).finished_at is not None


def test_one_turn_of_the_sweeper_is_enough(requester: Requester, worker: Worker) -> None:
    """A lease and one turn are the minute after which nothing may stand still, so nothing may be left for another turn."""
    order = ordered(requester, LINES)
    wait_until(lambda: counts(order).issued > LINES // 10 and Attempt.objects.filter(closed_at=None).exists(), seconds=60)
    worker.kill()
    long_ago = database_now() - timedelta(minutes=1)
    Attempt.objects.filter(closed_at=None).update(lease_until=long_ago)
    Attempt.objects.exclude(closed_at=None).update(closed_at=long_ago)
    CertificateRequest.objects.update(state_changed_at=long_ago)
    order.chunks.filter(state="queued").update(queued_at=long_ago)
    assert not done(order)
    worker.start()
    beat_once()
    wait_until(lambda: done(order), seconds=PATIENCE)
    order.refresh_from_db()
    assert_exactly(order, LINES)


def test_redis_that_forgets_everything_loses_nothing(requester: Requester, worker: Worker) -> None:
    order = ordered(requester, LINES)
    wait_until(lambda: counts(order).issued > LINES // 10, seconds=60)
    redis.Redis.from_url(django_settings.CELERY_BROKER_URL).flushdb()
    finished(order, worker, seconds=PATIENCE)
    assert_exactly(order, LINES)


def test_single_request_is_not_stuck_behind_an_order(requester: Requester, worker: Worker) -> None:
    order = ordered(requester, LINES)
    wait_until(lambda: counts(order).issued > 0, seconds=60)
    spec = CertificateSpec("urgent.example.com", ("urgent.example.com",), (), "ec-p256", 90, "tls-server")
    assert wait(submit(spec, requester=requester), seconds=60).state == S.COMPLETED
    assert not done(order), "the order was over before the single request could overtake it"
    finished(order, worker, seconds=PATIENCE)
