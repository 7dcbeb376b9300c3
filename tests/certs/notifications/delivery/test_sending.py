"""Mails are neither lost nor doubled, whatever the mail server does, and each fails alone."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from certs import tasks
from certs.models import OperatorAlert, OutgoingMail
from certs.notifications.audience import to_addresses
from certs.notifications.delivery import mail
from certs.notifications.delivery.mail import send_due
from certs.notifications.notices import Attachment, notify
from certs.notifications.topics import Topic
from db.clock import database_now
from tests.certs.notifications.conftest import MailServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
NO_TLS = "ignore:Requiring AUTH while not requiring TLS"  # of aiosmtpd: the test's server is local
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def write(key: str, *recipients: str, topic: Topic = Topic.POWER, **more: Any) -> None:
    now = database_now()
    context = {"team": {"name": "Web"}, "name": "example.com", "by": "carol", "at": now}
    with transaction.atomic():
        notify(
            topic,
            key=key,
            audience=to_addresses(recipients),
            subject=f"Team Web no longer owns {key}",
            template="domain_lost",
            context=context,
            now=now,
            **more,
        )


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    content = body.get_content()
    assert isinstance(content, str)
    return content


def test_mail_has_a_text_and_an_html_part_that_say_the_same(mail_server: MailServer) -> None:
    """N6"""
    write("shop.example.com", "ann@example.com")
    assert send_due() == 1
    (message,) = mail_server.messages
    assert message.get_content_type() == "multipart/alternative"
    for said in ("Team Web no longer owns example.com", "Changed by", "carol", "/certificates/"):
        assert said in part(message, "plain")
        assert said in part(message, "html")
    assert message["To"] == "ann@example.com"
    assert message["Subject"] == "Team Web no longer owns shop.example.com"


def test_html_part_loads_nothing_and_keeps_its_dark_and_narrow_rules(
    mail_server: MailServer,
) -> None:
    write("a", "ann@example.com")
    send_due()
    html = part(mail_server.messages[0], "html")
    assert "prefers-color-scheme: dark" in html
    assert "max-width: 480px" in html
    assert 'style="' in html
    for loads in ("<link", "<img", "<script", "url(", "@import"):
        assert loads not in html


def test_automatic_mail_says_so_and_can_be_filtered(mail_server: MailServer, settings: Any) -> None:
    """N6: vacation programs answered."""
    settings.PKI_PORTAL_URL = "https://pki.example.org:8443"
    write("a", "ann@example.com", topic=Topic.RENEWED, reply_to="web@example.com")
    send_due()
    (message,) = mail_server.messages
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"] == "Certificates renewed <renewed.pki.example.org>"
    assert message["Message-ID"].endswith("@pki.example.org>")
    assert message["List-Unsubscribe"] == "<https://pki.example.org:8443/account/mails/>"
    assert message["Reply-To"] == "web@example.com"


def test_each_recipient_gets_a_mail_of_its_own_and_sees_no_other_address(
    mail_server: MailServer,
) -> None:
    write("a", "ann@example.com", "bob@example.com", "ANN@example.com")
    assert send_due() == 2
    assert sorted(message["To"].casefold() for message in mail_server.messages) == [
        "ann@example.com",
        "bob@example.com",
    ]


def test_same_notice_written_twice_is_one_mail(mail_server: MailServer) -> None:
    write("a", "ann@example.com")
    write("a", "ann@example.com", "bob@example.com")
    assert send_due() == 2
    assert sorted(mail_server.recipients) == ["ann@example.com", "bob@example.com"]


def test_files_and_pictures_are_where_mail_programs_look_for_them(mail_server: MailServer) -> None:
    files = (
        Attachment("list.csv", "text/csv", b"name,ends\n"),
        Attachment("plot.png", "image/png", PIXEL, content_id="plot"),
    )
    write("a", "ann@example.com", attachments=files)
    send_due()
    (message,) = mail_server.messages
    (csv,) = message.iter_attachments()
    assert (csv.get_filename(), csv.get_content_type()) == ("list.csv", "text/csv")
    related = message.get_body(("related",))
    assert related is not None
    (picture,) = related.iter_attachments()
    assert (picture["Content-ID"], picture.get_content()) == ("<plot>", PIXEL)
    assert "example.com" in part(message, "plain")
    assert "<h1" in part(message, "html")


def test_refused_address_is_alerted_and_stops_no_other_mail(mail_server: MailServer) -> None:
    """N1: one invalid address stopped every mail for 7 days without an alert."""
    mail_server.refused = {"gone@example.com"}
    write("a", "ann@example.com", "gone@example.com", "zoe@example.com")
    send_due()
    assert {"ann@example.com", "zoe@example.com"} <= set(mail_server.recipients)
    bad = OutgoingMail.objects.get(recipient="gone@example.com")
    assert (bad.tries, bad.sent_at, bad.lease_until) == (1, None, None)
    assert bad.last_error == "550 5.1.1 no such mailbox"
    assert bad.not_before > database_now()
    alert = OperatorAlert.objects.get(kind="mail_refused", closed_at=None)
    assert alert.cause == "mail:gone@example.com"
    assert "no such mailbox" in alert.message
    # The address is repaired at the server: the mail arrives, and the alert is over.
    mail_server.refused = set()
    OutgoingMail.objects.update(not_before=database_now())
    send_due()
    assert not OperatorAlert.objects.filter(kind="mail_refused", closed_at=None).exists()


@pytest.mark.parametrize("address", ["a@example.com\nBcc: b@example.com", "no address at all@@"])
def test_address_that_no_mail_can_have_fails_alone(mail_server: MailServer, address: str) -> None:
    """N1, T1: a line end in an address raised ValueError, first in each run, for a week."""
    write("bad", address)
    write("good", "ann@example.com")
    send_due()
    assert "ann@example.com" in mail_server.recipients
    assert "b@example.com" not in mail_server.recipients
    bad = OutgoingMail.objects.get(dedup_key="bad")
    assert (bad.tries, bad.sent_at, bad.lease_until) == (1, None, None)
    assert OperatorAlert.objects.filter(kind="mail_refused", closed_at=None).count() == 1


def test_refused_address_is_given_up_after_a_day(mail_server: MailServer) -> None:
    mail_server.refused = {"gone@example.com"}
    write("a", "gone@example.com")
    OutgoingMail.objects.update(written_at=F("written_at") - timedelta(days=1, minutes=1))
    send_due()
    assert OutgoingMail.objects.get(dedup_key="a").given_up_at is not None
    assert not mail.waiting().filter(dedup_key="a").exists()


def test_mail_server_that_is_down_loses_nothing(mail_server: MailServer) -> None:
    mail_server.stop()
    write("a", "ann@example.com", "bob@example.com")
    assert (send_due(), send_due()) == (0, 0)
    assert set(mail.waiting().values_list("tries", "lease_until")) == {(0, None)}
    mail_server.start()
    assert send_due() == 2
    assert sorted(mail_server.recipients) == ["ann@example.com", "bob@example.com"]


@pytest.mark.filterwarnings(NO_TLS)
def test_sign_in_that_the_mail_server_refuses_is_no_try_of_a_mail_and_is_named_in_the_alert(mail_server: MailServer, settings: Any) -> None:
    mail_server.stop()
    mail_server.password = "right"
    mail_server.start()
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "portal", "wrong"
    write("a", "ann@example.com", "bob@example.com")
    assert (send_due(), send_due()) == (0, 0)
    assert set(mail.waiting().values_list("tries", "lease_until")) == {(0, None)}
    assert all(error.startswith("mail server: (535") for error in mail.waiting().values_list("last_error", flat=True))
    OutgoingMail.objects.update(written_at=F("written_at") - timedelta(minutes=61))
    mail.watch()
    alert = OperatorAlert.objects.get(kind="mail_late")
    assert "The last error: mail server: (535" in alert.message
    assert "wrong" not in alert.message
    settings.EMAIL_HOST_PASSWORD = "right"
    assert send_due() == 3  # the alert's mail too
    assert {"ann@example.com", "bob@example.com"} <= set(mail_server.recipients)
    assert set(OutgoingMail.objects.values_list("last_error", flat=True)) == {""}


@pytest.mark.filterwarnings(NO_TLS)
def test_sign_in_that_is_refused_after_a_mail_broke_off_stops_the_run_and_loses_nothing(mail_server: MailServer, settings: Any) -> None:
    mail_server.stop()
    mail_server.password, mail_server.password_after_a_break, mail_server.hangs_up_on = "right", "changed", {1}
    mail_server.start()
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "portal", "right"
    for name in ("ann", "bob"):
        write(name, f"{name}@example.com")
    assert send_due() == 0
    assert dict(OutgoingMail.objects.values_list("dedup_key", "tries")) == {"ann": 1, "bob": 0}
    settings.EMAIL_HOST_PASSWORD = "changed"
    OutgoingMail.objects.update(not_before=database_now())
    assert send_due() == 2
    assert sorted(mail_server.recipients) == ["ann@example.com", "bob@example.com"]


def test_server_that_hangs_up_in_the_middle_of_a_mail_gets_the_others(
    mail_server: MailServer,
) -> None:
    mail_server.hangs_up_on = {2}
    for name in ("ann", "bob", "zoe"):
        write(name, f"{name}@example.com")
    assert send_due() == 2
    assert mail_server.recipients == ["ann@example.com", "zoe@example.com"]
    assert OutgoingMail.objects.get(dedup_key="bob").tries == 1
    OutgoingMail.objects.update(not_before=database_now())
    assert send_due() == 1
    assert mail_server.recipients.count("bob@example.com") == 1


def test_server_that_confirms_late_gets_each_mail_once(mail_server: MailServer, settings: Any) -> None:
    """N2: a client that hangs up before the confirmation sends the mail again (RFC 5321 4.5.3.2)."""
    settings.EMAIL_TIMEOUT, mail_server.seconds = 0.3, 0.9
    write("a", "ann@example.com")
    assert (send_due(), send_due()) == (1, 0)
    assert mail_server.recipients == ["ann@example.com"]


def test_two_workers_at_a_slow_server_send_each_mail_once(mail_server: MailServer) -> None:
    """N2, F3: 6 of 15 and 39 of 60 mails arrived twice, because many mails shared one lease."""
    mail_server.seconds = 0.1
    wanted = [f"{number}@example.com" for number in range(10)]
    write("a", *wanted)
    sent: list[int] = []

    def work() -> None:
        try:
            sent.append(send_due())
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(mail_server.recipients) == wanted
    assert (sum(sent), min(sent) > 0) == (10, True)  # both worked


def test_run_ends_although_mails_are_left(mail_server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """F3: a mail server that took 7 s a mail occupied its worker for minutes."""
    monkeypatch.setattr(mail, "RUN_SECONDS", 0.2)
    mail_server.seconds = 0.3
    write("a", "ann@example.com", "bob@example.com")
    assert send_due() == 1
    assert set(mail.waiting().values_list("lease_until", flat=True)) == {None}


def test_mail_of_a_killed_worker_is_sent_when_its_lease_has_ended(mail_server: MailServer) -> None:
    write("a", "ann@example.com")
    now = database_now()
    OutgoingMail.objects.update(lease_until=now + timedelta(seconds=30))
    assert send_due() == 0
    OutgoingMail.objects.update(lease_until=now - timedelta(seconds=1))
    assert send_due() == 1
    assert mail_server.recipients == ["ann@example.com"]


def test_server_that_hangs_occupies_two_processes_and_no_third(mail_server: MailServer) -> None:
    """F3: it stopped all issuance; now not even webhooks wait for it."""
    write("a", "ann@example.com", "bob@example.com", "zoe@example.com")
    lease = database_now() + mail.LEASE
    first, second, _third = OutgoingMail.objects.order_by("pk")
    OutgoingMail.objects.filter(pk__in=[first.pk, second.pk]).update(lease_until=lease)
    assert send_due() == 0
    OutgoingMail.objects.filter(pk=second.pk).update(lease_until=lease - mail.PATIENCE)
    assert send_due() == 1
    assert mail_server.recipients == ["zoe@example.com"]


def test_server_that_takes_no_mail_for_an_hour_is_an_alert_until_it_does(
    mail_server: MailServer,
) -> None:
    mail_server.stop()
    write("a", "ann@example.com")
    send_due()
    assert mail.watch() == 0
    OutgoingMail.objects.update(written_at=F("written_at") - timedelta(minutes=61))
    assert mail.watch() == 1
    assert OperatorAlert.objects.get(closed_at=None).kind == "mail_late"
    mail_server.start()
    send_due()
    mail.watch()
    assert not OperatorAlert.objects.filter(closed_at=None).exists()


def test_lease_is_longer_than_any_run_can_be() -> None:
    """N2: no second worker sends a mail with which the first is still busy."""
    assert tasks.send_notifications.time_limit < mail.LEASE.total_seconds()


def test_mail_that_cannot_be_sent_for_a_week_is_an_alert_of_its_own(
    mail_server: MailServer,
) -> None:
    mail_server.stop()
    write("a", "ann@example.com")
    OutgoingMail.objects.update(written_at=F("written_at") - timedelta(days=7, minutes=1))
    assert send_due() == 0
    assert OutgoingMail.objects.get(dedup_key="a").given_up_at is not None
    alert = OperatorAlert.objects.get(kind="mail_given_up", closed_at=None)
    assert "1 mail(s)" in alert.message
    mail_server.start()
    send_due()
    assert "ann@example.com" not in mail_server.recipients


@contextlib.contextmanager
def dripping_greeting() -> Iterator[int]:
    """A server that begins its greeting (RFC 5321 4.2) and never ends it. Yields its port."""
    stop, server = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def greet(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while not stop.wait(0.05):
                connection.sendall(b"2")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=greet, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_alarm_does_not_wait_for_a_server_that_greets_octet_by_octet(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that looks for missed runs sends their mails: it would look no more, permanently."""
    monkeypatch.setattr(mail, "AT_ONCE_WHOLE_SECONDS", 0.5)
    write("a", "ops@example.com")
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "certs.notifications.delivery.smtp.PatientEmailBackend", "127.0.0.1"
    with dripping_greeting() as settings.EMAIL_PORT:
        begun = time.monotonic()
        assert mail.send_at_once([OutgoingMail.objects.get().dedup_key]) == 0
        assert time.monotonic() - begun < 5
    row = OutgoingMail.objects.get()
    assert (row.tries, row.lease_until) == (0, None)
    assert "no complete answer within 0.5 s" in row.last_error
