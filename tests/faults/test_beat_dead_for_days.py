"""C3: beat is dead for eight days. Operators are mailed within minutes, long before a CRL runs out; then all is caught up."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.db.models import F
from django_celery_beat.models import PeriodicTask

from audit.log import Actor
from audit.transparency.signing_key import ensure_sealing_key
from certs.models import CRL, BeatLease, CRLPoint, OperatorAlert, OutgoingMail, ScheduledJob
from certs.schedules.setup import ensure_schedules
from db.clock import database_now
from pkiportal.celery import app
from tests.faults.processes import Web, Worker, environment, free_port
from tests.faults.test_two_beats import Beat, within
from tests.portal.authority import publish_everything
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.long_fault, pytest.mark.django_db(transaction=True)]

DAYS = timedelta(days=8)


class Sink:
    """A mail server that keeps what it takes."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.received.append(envelope.content.decode())
        return "250 taken"


@pytest.fixture
def sink() -> Iterator[tuple[Sink, int]]:
    kept, port = Sink(), free_port()
    server = Controller(kept, hostname="127.0.0.1", port=port)
    server.start()
    yield kept, port
    server.stop()


@pytest.fixture
def _a_portal_with_its_schedules(portal: Portal) -> Iterator[None]:
    app.control.purge()
    for model in (PeriodicTask, ScheduledJob, BeatLease, OperatorAlert):
        model.objects.all().delete()
    ensure_sealing_key()
    publish_everything()
    now = database_now()
    ensure_schedules(actor=Actor("command", "bootstrap"), now=now)
    BeatLease.objects.create(pk=1, holder="dead", host="gone:1", since=now - 2 * DAYS, until=now)
    yield
    app.control.purge()


def ask_often(web: Web, times: int = 40) -> None:
    """Health checks, until each of the web processes has had one."""
    for _ in range(times):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{web.url}/healthz", timeout=5):
            time.sleep(0.02)


@pytest.mark.usefixtures("_a_portal_with_its_schedules")
def test_operators_are_mailed_before_any_crl_runs_out_and_everything_is_caught_up(sink: tuple[Sink, int], tmp_path: Path) -> None:
    mails, port = sink
    env = environment(
        DJANGO_SETTINGS_MODULE="tests.faults.mail_settings", PKI_TEST_SMTP_PORT=str(port), PKI_ALARM_EVERY_SECONDS="1", PKI_SERVE="all"
    )
    # Beat dies. Nothing else is there but the web processes: no worker, no beat.
    BeatLease.objects.update(until=database_now() - timedelta(seconds=61))
    ends = CRLPoint.objects.filter(issuer__parent__isnull=False).order_by("published__next_update").first()
    assert ends is not None
    assert ends.published is not None
    with Web(tmp_path / "web.log", env) as web:
        ask_often(web)
        within(30, lambda: bool(mails.received))
        assert ends.published.next_update - database_now() > timedelta(hours=72), "time to act is left"
        time.sleep(3)  # the other process looks too
        assert len(mails.received) == 1
        assert "Beat has given no sign of life" in mails.received[0]
        assert OutgoingMail.objects.get(dedup_key__startswith="alert:").sent_at is not None

        # Eight days pass: what is recorded becomes as old as that.
        ago = database_now() - DAYS
        ScheduledJob.objects.update(due_at=ago, done_until=ago)
        BeatLease.objects.update(until=ago, since=ago - DAYS)
        CRL.objects.filter(point__issuer__parent__isnull=False).update(
            this_update=F("this_update") - DAYS, next_update=F("next_update") - DAYS
        )
        begun = database_now()
        beat = Beat(tmp_path, "beat")
        try:
            with Worker(tmp_path / "worker.log", environment(), processes=2):
                took = within(300, lambda: not ScheduledJob.objects.filter(done_until__lte=ago).exists())
                within(60, lambda: not OperatorAlert.objects.filter(kind="beat_dead", closed_at=None).exists())
        finally:
            beat.end()
    assert took < 300
    late = ScheduledJob.objects.filter(started_at__lt=begun)
    assert not late.exists(), list(late.values_list("name", flat=True))
    assert not ScheduledJob.objects.filter(result="failed").exists(), list(ScheduledJob.objects.values_list("name", "error"))
    assert not CRLPoint.objects.filter(issuer__parent__isnull=False, published__next_update__lt=database_now()).exists()
    assert len(mails.received) == 1, mails.received
