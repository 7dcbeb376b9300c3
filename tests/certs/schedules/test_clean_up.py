"""M7: what nobody needs any more is deleted in time, in batches; what may be needed stays."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import AuditEvent
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from certs import tasks
from certs.models import Attempt, CertificateRequest, OperatorAlert, OutgoingMail, UnclaimedResult, Webhook, WebhookDelivery
from certs.requests.submit import Requester, submit_many
from certs.schedules import clean_up
from db.clock import database_now
from tests.audit.ledger import forge
from tests.portal.authority import issue
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DAY = timedelta(days=1)


def days_ago(days: int) -> datetime:
    return database_now() - days * DAY


def attempt(request: CertificateRequest, number: int, *, days: int, outcome: str = "done", closed: bool = True) -> Attempt:
    then = days_ago(days)
    return Attempt.objects.create(
        request=request,
        step="submit",
        number=number,
        lease_until=then,
        opened_at=then,
        closed_at=then if closed else None,
        outcome=outcome if closed else "",
    )


def test_sessions_that_ended_go_and_others_stay() -> None:
    now = database_now()
    for number in range(4):
        ends = now + DAY if number == 0 else now - timedelta(seconds=number)
        Session.objects.create(session_key=f"s{number}", session_data="", expire_date=ends)
    tasks.clean_up()
    assert list(Session.objects.values_list("session_key", flat=True)) == ["s0"]


def test_attempts_of_ended_requests_go_when_they_are_old(twin_portal: Requester, make_spec: Any, settings: Any) -> None:
    settings.PKI_KEEP_ATTEMPTS_DAYS = 90
    names = ("completed", "cancelled", "failed", "csr_created")
    requests = dict(zip(names, submit_many([make_spec(f"{name[:4]}.example.com") for name in names], requester=twin_portal), strict=True))
    for name, request in requests.items():
        CertificateRequest.objects.filter(pk=request.pk).update(state=name)
    Attempt.objects.all().delete()
    gone = [attempt(requests["completed"], 101, days=91, outcome="lost"), attempt(requests["cancelled"], 102, days=91, outcome="refused")]
    stay = [
        attempt(requests["completed"], 103, days=89),
        attempt(requests["cancelled"], 104, days=91, outcome="unknown"),  # an order that may be at the CA
        attempt(requests["failed"], 105, days=400),  # it may be resumed
        attempt(requests["csr_created"], 106, days=400, closed=False),
        attempt(requests["completed"], 107, days=400),
    ]
    UnclaimedResult.objects.create(request=requests["completed"], attempt=stay[-1], kind="csr", payload=b"x", brought_at=database_now())
    tasks.clean_up()
    assert set(Attempt.objects.values_list("pk", flat=True)) == {one.pk for one in stay}
    assert len(gone) == 2


def test_old_mails_and_closed_alerts_go(settings: Any) -> None:
    settings.PKI_KEEP_MAILS_DAYS, settings.PKI_KEEP_ALERTS_DAYS = 180, 365
    OutgoingMail.objects.all().delete()
    for name, days, sent in (("old", 181, True), ("given up", 181, False), ("new", 179, True)):
        then = days_ago(days)
        OutgoingMail.objects.create(
            dedup_key=name,
            topic="machinery",
            recipient="a@b.c",
            subject="s",
            body="b",
            written_at=then,
            not_before=then,
            sent_at=then if sent else None,
        )
    closed = {"old": days_ago(366), "new": days_ago(364), "open": None}
    for name, at in closed.items():
        then = days_ago(500)
        OperatorAlert.objects.create(kind="k", cause=name, message="m", next_step="n", raised_at=then, last_seen_at=then, closed_at=at)
    tasks.clean_up()
    assert list(OutgoingMail.objects.values_list("dedup_key", flat=True)) == ["new"]
    assert set(OperatorAlert.objects.filter(kind="k").values_list("cause", flat=True)) == {"new", "open"}


def test_old_entries_of_delivery_logs_go(portal: Portal, settings: Any) -> None:
    settings.PKI_KEEP_MAILS_DAYS = 180
    now = database_now()
    webhook = Webhook.objects.create(team=portal.team, name="w", url="https://hooks.example.com/", salt="s", created_at=now)
    for name, days, ended in (("old", 181, True), ("new", 179, True), ("waits", 181, False)):
        then = days_ago(days)
        row = {"message_id": name, "topic": "issued", "body": "{}", "created_at": then, "not_before": then}
        WebhookDelivery.objects.create(webhook=webhook, given_up_at=then if ended else None, **row)
    tasks.clean_up()
    assert set(WebhookDelivery.objects.values_list("message_id", flat=True)) == {"new", "waits"}


def test_each_statement_deletes_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean_up, "BATCH", 10)
    then = days_ago(1)
    Session.objects.bulk_create([Session(session_key=f"k{n}", session_data="", expire_date=then) for n in range(35)])
    with CaptureQueriesContext(connection) as queries:
        assert clean_up.delete_expired_sessions() == 35
    assert len([query for query in queries if query["sql"].startswith("DELETE")]) == 4
    monkeypatch.setattr(clean_up, "PART_SECONDS", 0.0)
    Session.objects.create(session_key="late", session_data="", expire_date=then)
    assert clean_up.delete_expired_sessions() == 0, "a part has its time, and goes on at the next run"


@pytest.fixture
def _sealer(settings: Any, tmp_path: Path) -> None:
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()


@pytest.mark.usefixtures("_sealer")
def test_the_nightly_verification_puts_a_good_result_on_record(portal: Portal) -> None:
    issue(portal, 1)
    seal()
    assert tasks.verify_records() == {"log": 0, "states": 0}
    event = AuditEvent.objects.get(event="audit:verified")
    assert event.data["sealed"] > 0
    assert not OperatorAlert.objects.filter(kind="verification_failed").exists()


@pytest.mark.usefixtures("_sealer")
def test_rows_that_the_log_does_not_explain_are_an_alert_until_they_are_put_right(portal: Portal) -> None:
    """What is found at night must reach a person, and close when it is over."""
    (certificate,) = issue(portal, 1)
    seal()
    rows = type(certificate).objects.filter(pk=certificate.pk)
    rows.update(status="revoked")
    assert tasks.verify_records()["states"] > 0
    alert = OperatorAlert.objects.get(kind="verification_failed", closed_at=None)
    assert certificate.cert_id in alert.message
    assert "verify_states" in alert.next_step
    rows.update(status="good")
    seal()
    assert tasks.verify_records()["states"] == 0
    assert not OperatorAlert.objects.filter(kind="verification_failed", closed_at=None).exists()


@pytest.mark.usefixtures("_sealer")
def test_a_log_that_was_changed_is_an_alert(portal: Portal) -> None:
    issue(portal, 1)
    seal()
    forge("UPDATE audit_event SET actor_name = 'nobody' WHERE id = (SELECT min(id) FROM audit_event)")
    assert tasks.verify_records()["log"] > 0
    alert = OperatorAlert.objects.get(kind="verification_failed", cause="audit log", closed_at=None)
    assert "verify_audit" in alert.next_step
    assert not AuditEvent.objects.filter(event="audit:verified").exists()
