"""`/readyz` says by part what works, and is 503 only for what the process itself needs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.test import Client

from audit.events import EventType
from audit.log import Actor, record
from certs.ca.registry import forget_clients
from certs.models import Issuer, OperatorAlert, OutgoingMail
from certs.status.ocsp.signers import forget_signers
from db.clock import database_now
from pkiportal.celery import app
from pkiportal.monitoring.health import PARTS
from tests.harness.redis import Redis
from tests.portal.authority import publish_everything
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _empty_queues() -> None:
    """What other tests left in the broker would be a stuck queue."""
    app.control.purge()


def ready() -> tuple[int, str, dict[str, str]]:
    answer = Client().get("/readyz")
    document = answer.json()
    assert set(document["parts"]) == {name for name, part in PARTS.items() if document["serves"] in part.used_by}
    assert {name for name, part in document["parts"].items() if not part["ok"]} == set(document["failed"])
    for name in document["failed"]:
        assert document["parts"][name]["effect"], "says what still works"
    return answer.status_code, document["status"], document["failed"]


@pytest.mark.both_databases
@pytest.mark.parametrize("serve", ["all", "portal", "ca", "status"])
def test_everything_works(portal: Portal, settings: Any, serve: str) -> None:
    publish_everything()
    settings.PKI_SERVE = serve
    assert ready()[2].keys() <= {"audit"}  # nobody seals here, and the test may be slow
    assert not Session.objects.exists(), "the row of the write test was rolled back"


@pytest.fixture
def _no_database(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        yield
    connection.close()


@pytest.mark.usefixtures("_no_database")
def test_database_that_is_down_is_503_json_for_every_process(settings: Any) -> None:
    """M5"""
    for serve in ("all", "portal", "ca", "status"):
        settings.PKI_SERVE = serve
        status, word, failed = ready()
        assert (status, word) == (503, "unavailable")
        assert failed["database_read"] == "OperationalError"
        assert failed["audit"] == "not known, because the database does not answer"
        assert "broker" not in failed


@pytest.mark.usefixtures("_no_database")
def test_metrics_without_a_database_are_503_and_one_line(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """F10"""
    settings.PKI_METRICS_TOKEN = "t" * 32
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {'t' * 32}"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    (line,) = [one for one in caplog.records if one.name == "pkiportal.monitoring.metrics"]
    assert line.exc_info is None


@pytest.fixture
def _read_only(portal: Portal) -> Iterator[None]:
    publish_everything()
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    yield
    connection.close()


@pytest.mark.usefixtures("_read_only")
def test_read_only_database_stops_who_must_write_and_not_the_status_service(settings: Any) -> None:
    """M5, F10"""
    for serve, status in (("portal", 503), ("ca", 503), ("all", 503), ("status", 200)):
        settings.PKI_SERVE = serve
        assert ready() == (status, "unavailable" if status == 503 else "degraded", {"database_write": "InternalError"})


def test_broker_that_is_down_degrades_because_orders_are_accepted(portal: Portal, settings: Any) -> None:
    """M5: requests are rows; the sweeper starts them when the broker is back."""
    settings.PKI_SERVE, settings.CELERY_BROKER_URL = "portal", "redis://127.0.0.1:1/0"
    assert ready() == (200, "degraded", {"broker": "ConnectionError"})
    settings.PKI_SERVE = "status"  # it is not in the broker's network
    assert "broker" not in ready()[2]


def test_broker_that_is_full_is_seen(portal: Portal, settings: Any, tmp_path: Path) -> None:
    """F10: a full Redis takes connections and answers PING."""
    own = Redis(tmp_path / "redis")
    own.start()
    try:
        with redis.Redis.from_url(own.url) as client:
            client.config_set("maxmemory", "1")
        settings.PKI_SERVE, settings.CELERY_BROKER_URL = "portal", own.url
        assert ready() == (200, "degraded", {"broker": "OutOfMemoryError"})
    finally:
        own.stop()


def test_keys_count_only_where_the_process_uses_them(portal: Portal, settings: Any) -> None:
    """F10: the web process has no login to Vault; what workers reported about it is shown there."""
    publish_everything()
    settings.KEY_BACKENDS = {
        name: {**config, "OPTIONS": {"kek_file": "/nonexistent/kek"}} for name, config in settings.KEY_BACKENDS.items()
    }
    forget_clients()
    forget_signers()
    ca, ocsp = "the CA Internal-CA-Prod", "OCSP of Internal-CA-Prod"
    for serve, silent in (("ca", ca), ("status", ocsp), ("all", f"new keys (local), {ca}, {ocsp}")):
        settings.PKI_SERVE = serve
        assert ready() == (503, "unavailable", {"keys": f"no signatures for {silent}"})
    settings.PKI_SERVE = "portal"
    assert ready() == (200, "ok", {})
    alert("keys_unavailable", "keys:vault")
    assert ready() == (200, "degraded", {"worker_keys": "keys:vault does not answer"})


def alert(kind: str, cause: str) -> None:
    now = database_now()
    OperatorAlert.objects.create(kind=kind, cause=cause, message="x", next_step="x", raised_at=now, last_seen_at=now)


def test_stopped_or_silent_ca_late_sealer_and_stuck_mail_degrade(portal: Portal, settings: Any) -> None:
    """F10"""
    settings.PKI_SERVE = "portal"
    now = database_now()
    past = now - timedelta(minutes=15)
    Issuer.objects.filter(alias="Internal-CA-Prod").update(circuit_opened_at=now)
    alert("ca_unavailable", "ca:Other")
    OutgoingMail.objects.create(
        dedup_key="a",
        topic="machinery",
        recipient="a@example.com",
        subject="x",
        body="x",
        written_at=past,
        not_before=now,
    )
    with transaction.atomic():
        record(EventType.BOOTSTRAP_DONE, subject="portal", actor=Actor("system", "test"), at=past, data={"made": []})
    status, word, failed = ready()
    assert (status, word) == (200, "degraded")
    assert failed["ca"] == "Internal-CA-Prod is stopped, ca:Other does not answer"
    assert failed["mail"] == "1 mail(s) wait for more than 10 minutes"
    assert failed["audit"].startswith("the oldest event waits for 9")
