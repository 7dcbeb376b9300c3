"""One failing part, mail or row of a scheduled task stops no other."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.core import mail

from audit.clock import database_now
from certs import tasks
from certs.models import OperatorAlert, OutgoingMail
from certs.notifications.mail import send_due
from certs.schedules import clean_up
from certs.workflow.bulk import drafting

pytestmark = pytest.mark.django_db(transaction=True)


def broken() -> int:
    raise LookupError("a bug")


@pytest.mark.parametrize(
    ("task", "module", "name", "cause"),
    [
        (tasks.sweep, tasks, "end_orphaned_tokens", "orphaned tokens"),
        (tasks.sweep_bulk, drafting, "forget_broken_drafts", "broken drafts"),
        (tasks.clean_up, clean_up, "delete_expired_sessions", "expired sessions"),
    ],
)
def test_part_of_a_scheduled_task_that_fails_stops_no_other(
    task: Any, module: Any, name: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: requests stood still because of a token that could not be ended."""
    ran: list[str] = []

    def works(path: str) -> None:
        def work() -> int:
            ran.append(path)
            return 3

        monkeypatch.setattr(f"certs.tasks.{path}", work)

    works("recovery.restart_standing")
    works("dispatching.sweep_chunks")
    for part in ("delete_old_attempts", "delete_old_mails", "delete_old_alerts"):
        monkeypatch.setattr(clean_up, part, lambda: 1)
    monkeypatch.setattr(module, name, broken)
    assert (task(), len(ran)) == ((3, 0) if task is tasks.clean_up else (3, 1))
    alert = OperatorAlert.objects.get(kind="sweep_failed", closed_at=None)
    assert cause in alert.message


def queued(key: str, to: str) -> None:
    now = database_now()
    OutgoingMail.objects.create(dedup_key=key, to=[to], subject=key, body="b", written_at=now, not_before=now)


def test_mail_that_cannot_be_written_stops_no_other() -> None:
    """T1: a line end in an address raised ValueError, first in each run, for a week."""
    queued("bad", "a@example.com\nBcc: b@example.com")
    queued("good", "c@example.com")
    assert send_due() == 1
    assert [message.subject for message in mail.outbox] == ["good"]
    bad = OutgoingMail.objects.get(dedup_key="bad")
    assert (bad.tries, bad.sent_at, bad.lease_until) == (1, None, None)
    assert bad.not_before > database_now()


def test_slow_mail_server_occupies_one_worker_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F3: a server that took 7 s a mail stopped all issuance."""
    for key in ("first", "second", "third"):
        queued(key, "a@example.com")
    beside: list[int] = []

    def slow(_message: Any) -> int:
        beside.append(send_due())  # another process of the worker
        time.sleep(0.3)
        return 1

    monkeypatch.setattr("django.core.mail.EmailMessage.send", slow)
    monkeypatch.setattr("certs.notifications.mail.RUN_SECONDS", 0.2)
    assert (send_due(), beside) == (1, [0])


def test_mail_is_claimed_only_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """F3: 39 of 60 mails arrived twice, since one lease was on all that a slow server took."""
    for key in ("first", "second", "third"):
        queued(key, "a@example.com")
    claimed: list[int] = []

    def slow(_message: Any) -> int:
        claimed.append(OutgoingMail.objects.filter(lease_until__isnull=False).count())
        return 1

    monkeypatch.setattr("django.core.mail.EmailMessage.send", slow)
    assert send_due() == 3
    assert claimed == [1, 1, 1]
