"""The missed-run alarm: what does not run is mailed once, straight from a web process, and is seen everywhere."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import redis
from aiosmtpd.controller import Controller
from django.core import mail
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from audit.events import EventType
from audit.log import Actor, record
from certs.models import BeatLease, CertificateRequest, Issuer, OperatorAlert, OutgoingMail, QueueProgress, ScheduledJob
from certs.notifications.delivery.mail import AT_ONCE_LEASE, send_due
from certs.requests.submit import Requester, submit_many
from certs.schedules import queues
from certs.schedules.alarm import check
from certs.schedules.due import follow_schedules
from certs.schedules.machinery import machinery
from db.clock import database_now
from pkiportal.celery import app
from pkiportal.monitoring.missed_run_alarm import look
from tests.faults.processes import free_port
from tests.portal.fixtures import Portal
from tests.portal.threads import in_thread

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def _beat_and_two_jobs(db: None) -> Iterator[None]:
    app.control.purge()
    PeriodicTask.objects.all().delete()
    for model in (ScheduledJob, BeatLease, QueueProgress, OperatorAlert):
        model._default_manager.all().delete()
    now = database_now()
    interval, _ = IntervalSchedule.objects.get_or_create(every=15, period=IntervalSchedule.SECONDS)
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="0", hour="2", timezone="UTC")
    PeriodicTask.objects.create(name="CRLs", task="certs.tasks.publish_status", interval=interval)
    PeriodicTask.objects.create(name="night", task="certs.tasks.check_expiry", crontab=crontab)
    follow_schedules({task.name: task for task in PeriodicTask.objects.all()}, now)
    BeatLease.objects.create(pk=1, holder="a", host="host:1", since=now - 10 * DAY, until=now + 5 * SECOND)
    OutgoingMail.objects.all().delete()
    yield
    app.control.purge()


def kinds() -> list[str]:
    return sorted(OperatorAlert.objects.filter(closed_at=None).values_list("kind", flat=True))


def silent(duration: timedelta) -> None:
    BeatLease.objects.update(until=database_now() - duration)


def test_nothing_is_reported_while_everything_runs() -> None:
    assert check(database_now()) == []
    assert not mail.outbox


@pytest.mark.both_databases
def test_a_dead_beat_is_mailed_once_by_the_web_process_itself(settings: Any) -> None:
    """C3: the mail worker gets its work from beat, so it is not relied on."""
    settings.PKI_OPERATOR_EMAILS = ["ops@example.com"]
    silent(61 * SECOND)
    for _ in range(3):
        check(database_now())
    (sent,) = mail.outbox
    assert (sent.to, sent.extra_headers["Auto-Submitted"]) == (["ops@example.com"], "auto-generated")
    assert "no sign of life" in sent.subject
    assert "/alerts/" in sent.body
    assert "host:1" in sent.body
    assert send_due() == 0, "the mail worker, once it lives again, does not send it a second time"
    BeatLease.objects.update(until=database_now() + 5 * SECOND)
    check(database_now())
    assert kinds() == []


def test_what_comes_back_within_minutes_is_the_same_alert_without_a_second_mail() -> None:
    """F9"""
    for _ in range(3):
        silent(2 * MINUTE)
        check(database_now())
        silent(-5 * SECOND)
        check(database_now())
    assert (len(mail.outbox), OperatorAlert.objects.count()) == (1, 1)


def test_a_restart_of_beat_is_no_alarm() -> None:
    silent(50 * SECOND)
    assert check(database_now()) == []


def test_jobs_are_not_reported_beside_a_dead_beat_nor_while_it_catches_up() -> None:
    now = database_now()
    ScheduledJob.objects.update(done_until=now - 8 * DAY, due_at=now - 8 * DAY)
    silent(8 * DAY)
    assert [problem.kind for problem in check(now)] == ["beat_dead"]
    BeatLease.objects.update(since=now, until=now + 5 * SECOND)
    assert check(now) == []
    BeatLease.objects.update(since=now - 6 * MINUTE)
    assert sorted(problem.cause for problem in check(now)) == ["job:CRLs", "job:night"]


@pytest.mark.both_databases
def test_a_job_that_does_not_succeed_in_its_period_is_reported_by_name_with_its_error() -> None:
    """C3: the worker lives, beat lives, and the night run fails."""
    now = database_now()
    fields = {"started_at": now - HOUR, "finished_at": now - HOUR, "result": "failed", "error": "OSError", "done_until": now - 2 * DAY}
    ScheduledJob.objects.filter(name="night").update(sent_period=now - HOUR, started_period=now - HOUR, **fields)
    (problem,) = check(now)
    assert (problem.kind, problem.cause) == ("job_missed", "job:night")
    assert "failed" in problem.message
    assert "OSError" in problem.message
    ScheduledJob.objects.filter(name="night").update(done_until=now, result="succeeded")
    assert check(now) == []


def test_a_run_that_goes_on_is_not_missed_and_one_that_broke_off_is() -> None:
    now = database_now()
    fields = {"started_at": now - 10 * MINUTE, "finished_at": None, "result": "", "done_until": now - 2 * DAY}
    ScheduledJob.objects.filter(name="night").update(sent_period=now - HOUR, started_period=now - HOUR, lease_until=now + MINUTE, **fields)
    assert check(now) == []
    ScheduledJob.objects.update(lease_until=now - SECOND)
    (problem,) = check(now)
    assert "did not finish" in problem.message


def test_jobs_that_are_switched_off_or_deleted_are_not_missed() -> None:
    now = database_now()
    ScheduledJob.objects.update(done_until=now - 8 * DAY)
    PeriodicTask.objects.filter(name="night").update(enabled=False)
    PeriodicTask.objects.filter(name="CRLs").delete()
    follow_schedules({task.name: task for task in PeriodicTask.objects.filter(enabled=True)}, now)
    assert check(now) == []
    assert {job.name: str(job.state) for job in machinery(now).jobs} == {"night": "switched off", "CRLs": "deleted"}


def waits_since(queue: str, age: timedelta, settings: Any) -> None:
    """Put a message into a queue of the real Redis that was published some time ago."""
    app.send_task("certs.tasks.sweep", queue=queue)
    with redis.Redis.from_url(settings.CELERY_BROKER_URL) as broker:
        message = json.loads(broker.lindex(queue, -1))
        message["headers"]["published_at"] -= age.total_seconds()
        broker.lset(queue, -1, json.dumps(message))


def test_a_queue_with_messages_that_finished_nothing_for_a_minute_is_reported(settings: Any) -> None:
    """F0: the worker lives, but takes no message any more."""
    waits_since("ca", 50 * SECOND, settings)
    assert check(database_now()) == []
    waits_since("policy", 70 * SECOND, settings)
    now = database_now()
    QueueProgress.objects.create(name="policy", finished_at=now - 30 * SECOND)
    assert check(now) == [], "it is slow, but it works"
    QueueProgress.objects.update(finished_at=now - 61 * SECOND)
    (problem,) = check(now)
    assert (problem.kind, problem.cause) == ("queue_stuck", "queue:policy")
    assert len(mail.outbox) == 1
    app.control.purge()
    check(database_now())
    assert kinds() == []


def test_queue_alarms_stay_open_while_the_broker_does_not_answer(settings: Any) -> None:
    waits_since("ca", 70 * SECOND, settings)
    check(database_now())
    url, settings.CELERY_BROKER_URL = settings.CELERY_BROKER_URL, "redis://127.0.0.1:1/0"
    assert machinery(database_now()).queues is None
    check(database_now())
    assert kinds() == ["queue_stuck"]
    settings.CELERY_BROKER_URL = url


def test_a_finished_task_is_recorded_for_its_queue_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "RECORD_EVERY_SECONDS", 0)
    queues.task_ended("keys")
    monkeypatch.undo()
    first = QueueProgress.objects.get(name="keys").finished_at
    queues.task_ended("keys")
    assert QueueProgress.objects.get(name="keys").finished_at == first
    monkeypatch.setattr(queues, "RECORD_EVERY_SECONDS", 0)
    QueueProgress.objects.update(finished_at=database_now() + DAY)
    queues.task_ended("keys")
    assert QueueProgress.objects.get(name="keys").finished_at <= database_now(), "a time in the future is not believed"


def test_a_request_that_does_not_move_is_reported_and_one_that_waits_is_not(twin_portal: Requester, make_spec: Any) -> None:
    """F0: no queue is stuck, for its message was lost."""
    (request,) = submit_many([make_spec("a.example.com")], requester=twin_portal)
    app.control.purge()
    assert check(database_now()) == []
    CertificateRequest.objects.update(state_changed_at=database_now() - 61 * SECOND)
    (problem,) = check(database_now())
    assert problem.kind == "request_stuck"
    for waiting in ({"held_since": database_now()}, {"state": "awaiting_approval"}, {"error": "CA works on it: pending"}):
        before = {name: getattr(request, name) for name in waiting}
        CertificateRequest.objects.update(**waiting)
        assert check(database_now()) == [], waiting
        CertificateRequest.objects.update(**before)


def test_an_audit_log_that_is_not_sealed_is_reported() -> None:
    with transaction.atomic():
        record(EventType.BOOTSTRAP_DONE, subject="portal", actor=Actor("system", "test"), at=database_now() - 3 * MINUTE, data={})
    (problem,) = check(database_now())
    assert problem.kind == "audit_unsealed"
    assert "never sealed" in problem.message


def test_processes_that_look_at_the_same_time_send_one_mail(settings: Any) -> None:
    """Each web process looks; one row decides."""
    silent(2 * MINUTE)
    for thread in [in_thread(lambda: check(database_now())) for _ in range(6)]:
        thread.join()
    assert (len(mail.outbox), OperatorAlert.objects.count(), OutgoingMail.objects.count()) == (1, 1, 1)


def test_a_mail_that_cannot_be_sent_is_tried_again_by_the_next_process(monkeypatch: pytest.MonkeyPatch) -> None:
    silent(2 * MINUTE)
    with monkeypatch.context() as patch:
        patch.setattr("django.core.mail.EmailMessage.send", _refuse)
        check(database_now())
    assert not mail.outbox
    held = OutgoingMail.objects.get()
    assert (held.tries, held.sent_at) == (1, None)
    check(database_now())
    assert not mail.outbox, "its pause is not over"
    OutgoingMail.objects.update(not_before=database_now())
    check(database_now())
    assert len(mail.outbox) == 1


def test_a_process_that_was_killed_while_sending_holds_the_mail_up_for_minutes_only() -> None:
    silent(2 * MINUTE)
    check(database_now())
    mail.outbox.clear()
    now = database_now()
    OutgoingMail.objects.update(sent_at=None, lease_until=now + AT_ONCE_LEASE)
    check(now)
    assert not mail.outbox
    OutgoingMail.objects.update(lease_until=now - SECOND)
    check(now)
    assert len(mail.outbox) == 1
    assert timedelta(minutes=5) > AT_ONCE_LEASE


def test_an_alert_that_a_person_closed_has_some_minutes_before_it_comes_back(portal: Portal) -> None:
    silent(2 * MINUTE)
    check(database_now())
    OperatorAlert.objects.update(closed_at=database_now(), closed_by=portal.carol)
    check(database_now())
    assert kinds() == []
    OperatorAlert.objects.update(closed_at=database_now() - 11 * MINUTE)
    check(database_now())
    assert (kinds(), len(mail.outbox)) == (["beat_dead"], 2)


def test_an_open_alert_is_counted_once_a_minute_however_often_processes_look() -> None:
    silent(2 * MINUTE)
    now = database_now()
    for second in range(0, 61, 5):
        check(now + second * SECOND)
    assert OperatorAlert.objects.get().occurrences == 2


def _refuse(*_args: Any, **_more: Any) -> None:
    raise smtplib.SMTPServerDisconnected("no")


class Sink:
    """Takes mail as a server does."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.received.append(envelope.content.decode())
        return "250 taken"


def test_the_mail_goes_through_a_real_server(settings: Any) -> None:
    sink = Sink()
    server = Controller(sink, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        silent(2 * MINUTE)
        check(database_now())
    finally:
        server.stop()
    (text,) = sink.received
    assert "\r\nAuto-Submitted: auto-generated\r\n" in text
    assert OutgoingMail.objects.get().sent_at is not None


def test_without_a_database_there_is_one_log_line_and_no_mail(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    connection.close()
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        answered = True
        for _ in range(3):
            answered = look(answered=answered)
    assert not answered
    assert len([line for line in caplog.records if line.name == "pkiportal.monitoring.missed_run_alarm"]) == 1
    assert not mail.outbox
    assert look(answered=False)


def test_readyz_metrics_page_and_command_say_the_same(portal: Portal, client: Client, settings: Any) -> None:
    settings.PKI_METRICS_TOKEN = "t" * 32
    now = database_now()
    ScheduledJob.objects.filter(name="night").update(done_until=now - 2 * DAY)
    waits_since("ca", 70 * SECOND, settings)
    document = Client().get("/readyz").json()
    assert (document["failed"]["schedules"], document["failed"]["queues"]) == ("not run in time: night", "nothing is finished in: ca")
    text = Client().get("/metrics", headers={"Authorization": f"Bearer {'t' * 32}"}).content.decode()
    assert '\npki_job_missed{job="night"} 1.0\n' in text
    assert '\npki_job_missed{job="CRLs"} 0.0\n' in text
    assert '\npki_queue_stuck{queue="ca"} 1.0\n' in text
    assert '\npki_queue_messages{queue="ca"} 1.0\n' in text
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("schedules", json=True, stdout=out)
    told = json.loads(out.getvalue())
    assert (ended.value.code, told["success"]) == (1, False)
    assert {job["name"]: job["missed"] for job in told["jobs"]} == {"CRLs": False, "night": True}
    assert [queue["name"] for queue in told["queues"] if queue["stuck"]] == ["ca"]
    check(database_now())
    client.force_login(portal.carol)
    page = client.get("/machinery/", secure=True).content.decode()
    assert page.count(">missed<") == 1
    assert ">stuck<" in page
    assert "See the machinery" in client.get("/certificates/", secure=True).content.decode()
    client.force_login(portal.alice)
    assert "See the machinery" not in client.get("/certificates/", secure=True).content.decode()
    assert client.get("/machinery/", secure=True).status_code == 404


def test_page_and_command_show_stopped_cas_and_waiting_mails(portal: Portal, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """The machinery is more than its jobs: circuit breakers, mails, and each job's duration and next run."""
    now = database_now()
    Issuer.objects.filter(alias="Internal-CA-Prod").update(circuit_opened_at=now, circuit_reason="it signed another name")
    mail = {"topic": "issued", "subject": "x", "body": "x", "written_at": now - HOUR, "not_before": now - HOUR}
    OutgoingMail.objects.create(dedup_key="a", recipient="a@example.com", **mail)
    ScheduledJob.objects.filter(name="night").update(started_at=now - HOUR, finished_at=now - HOUR + 90 * SECOND, due_at=now + HOUR)
    call_command("schedules", json=True)
    shown = json.loads(capsys.readouterr().out)
    (ca,) = shown["stopped_cas"]
    assert (ca["name"], ca["reason"]) == ("Internal-CA-Prod", "it signed another name")
    assert (shown["mails_waiting"]["count"], shown["mails_waiting"]["oldest_at"]) == (1, (now - HOUR).isoformat())
    (night,) = [job for job in shown["jobs"] if job["name"] == "night"]
    assert (night["seconds"], night["next_at"]) == (90.0, (now + HOUR).isoformat())
    client.force_login(portal.carol)
    page = client.get("/machinery/", secure=True).content.decode()
    for text in ("Internal-CA-Prod", "it signed another name", "1, the oldest for 1", "90.0 s"):
        assert text in page


def test_command_for_people_and_restore(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("schedules")
    assert "Everything runs." in capsys.readouterr().out
    call_command("schedules", restore=True)
    assert "certificates: renew what is due" in capsys.readouterr().out
    call_command("schedules", restore=True, json=True)
    assert json.loads(capsys.readouterr().out) == {"success": True, "restored": []}
