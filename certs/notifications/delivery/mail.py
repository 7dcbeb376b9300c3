"""Send the mails that notices wrote (`certs.notifications.notices`), in a task and a worker of their own.

A mail server that is down, slow or refusing delays mails and nothing else, and a mail that cannot
be sent delays no other mail.
"""

from __future__ import annotations

import logging
import smtplib
import time
from collections.abc import Sequence
from datetime import timedelta
from email.errors import MessageError
from email.mime.image import MIMEImage
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.message import SafeMIMEMultipart
from django.db import transaction
from django.db.models import Q

from certs.enums import AlertKind
from certs.models import OutgoingMail
from certs.notifications.alerts import close_alerts, raise_alert
from certs.notifications.delivery.one_use_links import with_secrets
from certs.notifications.delivery.smtp import ANSWER_SECONDS
from certs.notifications.topics import Topic
from certs.notifications.wording import so_many
from db.clock import database_now

log = logging.getLogger(__name__)

# How long the task may last (Celery ends it then). No run is still busy with a mail after that.
RUN_LIMIT = timedelta(minutes=15)
# A lease ends after the run that holds it. A mail whose worker was killed is sent again then, with
# the same Message-ID.
LEASE = RUN_LIMIT + timedelta(minutes=1)
# The same for mails that do not wait for a worker: a conversation of ten replies ends before its lease.
AT_ONCE_CONNECT_SECONDS, AT_ONCE_ANSWER_SECONDS = 5.0, 20.0
# Opening, sending and closing each, however slowly the octets come: the alarm looks again while the server drips.
AT_ONCE_WHOLE_SECONDS = 30.0
AT_ONCE_LEASE, AT_ONCE_MOST = timedelta(minutes=4), 20
# Runs at once: a mail server that hangs leaves a process of the worker for webhooks.
RUNS = 2
# As long as the client waits for one reply; older leases are of workers that were killed.
PATIENCE = timedelta(seconds=ANSWER_SECONDS)
RUN_SECONDS = 20.0  # no further mail is begun after this
BACKOFF_MINUTES = (1, 2, 5, 10, 30)  # then every 30 minutes
GIVE_UP_AFTER = timedelta(days=7)
# An address that the server refuses permanently (5xx) may be a fault of the server's settings.
GIVE_UP_REFUSED_AFTER = timedelta(days=1)
PERMANENT = 500  # RFC 5321 4.2.1: replies from here on are permanent
LATE_AFTER = timedelta(hours=1)
_REFUSED = r"^5[0-9][0-9] "
_ALTERNATIVE = "multipart/alternative"


def waiting() -> Any:
    """Return the mails that are neither sent, nor given up, nor part of a bundle."""
    return OutgoingMail.objects.filter(sent_at__isnull=True, given_up_at__isnull=True, bundled_into__isnull=True)


def send_due(limit: int = 200) -> int:
    """Send what is due. Returns how many mails were sent.

    Each mail is claimed with a lease of its own just before it is sent, so two workers never send
    the same mail, however slow the server is. One connection serves the run. A server that cannot
    be reached, or refuses the sign-in, ends the run: no mail is to blame, and the next run tries again.
    """
    give_up_old()
    now = database_now()
    begun = waiting().filter(lease_until__gt=now + LEASE - PATIENCE)
    if begun.count() >= RUNS or not waiting().filter(not_before__lte=now).exists():
        return 0
    return _send_each(waiting(), get_connection(), lease=LEASE, limit=limit)


def send_at_once(keys: Sequence[str]) -> int:
    """Send the mails of these keys from this process. Returns how many were sent.

    For notices that must not wait for a worker. A mail that a worker has claimed is left to that
    worker; one that cannot be sent is tried again by the next call or by a worker. The mail server
    is waited for AT_ONCE_ANSWER_SECONDS only, so one that is very slow to confirm a mail may get it
    twice: of an alarm, two are better than none.
    """
    mails = waiting().filter(dedup_key__in=keys)
    if not mails.filter(not_before__lte=database_now()).exists():
        return 0
    connection = get_connection(
        timeout=AT_ONCE_CONNECT_SECONDS,
        answer_seconds=AT_ONCE_ANSWER_SECONDS,
        whole_seconds=AT_ONCE_WHOLE_SECONDS,
    )
    return _send_each(mails, connection, lease=AT_ONCE_LEASE, limit=AT_ONCE_MOST)


def _send_each(mails: Any, connection: Any, *, lease: timedelta, limit: int) -> int:
    sent, until = 0, time.monotonic() + RUN_SECONDS
    try:
        connection.open()
        for _ in range(limit):
            mail = _claim_next(mails, lease) if time.monotonic() < until else None
            if mail is None:
                break
            sent += _send(mail, connection)
    except (OSError, smtplib.SMTPException) as exc:
        log.warning("no conversation with the mail server, mails wait: %s", exc)
        _note_why_they_wait(mails, exc)
    finally:
        _close(connection)
    return sent


def _note_why_they_wait(mails: Any, exc: Exception) -> None:
    """Keep the error with the mails that are due, for pages and the alert. It counts as no try of theirs."""
    error = f"mail server: {exc}"[:300]
    due = mails.filter(not_before__lte=database_now(), lease_until__isnull=True)
    due.exclude(last_error=error).update(last_error=error)


def _close(connection: Any) -> None:
    try:
        connection.close()
    except (OSError, smtplib.SMTPException) as exc:
        log.info("mail server left the conversation before its end: %s", exc)


@transaction.atomic
def _claim_next(mails: Any, lease: timedelta) -> OutgoingMail | None:
    now = database_now()
    mail: OutgoingMail | None = (
        mails.select_for_update(skip_locked=True)
        .filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now), not_before__lte=now)
        .order_by("not_before", "pk")
        .first()
    )
    if mail is not None:
        mail.lease_until = now + lease
        mail.save(update_fields=["lease_until"])
    return mail


def _send(mail: OutgoingMail, connection: Any) -> bool:
    """Send one mail and record the result. Returns whether it was sent.

    Raises OSError where the connection broke and cannot be opened again.
    """
    claimed = OutgoingMail.objects.filter(pk=mail.pk, lease_until=mail.lease_until)
    try:
        message_of(mail, connection).send()
    except smtplib.SMTPRecipientsRefused as exc:
        code, reason = next(iter(exc.recipients.values()))
        _failed(mail, f"{code} {reason.decode('utf-8', 'replace')}", refused=code >= PERMANENT)
    except (smtplib.SMTPException, OSError) as exc:
        _failed(mail, str(exc), refused=False)
        _reopen(connection)
    except (MessageError, ValueError) as exc:
        # An address or a subject that no mail can have.
        _failed(mail, str(exc), refused=True)
    else:
        claimed.update(sent_at=database_now(), tries=mail.tries + 1, lease_until=None, last_error="")
        with transaction.atomic():
            close_alerts(kind=AlertKind.MAIL_REFUSED, cause=_cause(mail.recipient), now=database_now())
        return True
    return False


def _reopen(connection: Any) -> None:
    """Begin a new conversation: after an error the server may not know the state of the old one."""
    _close(connection)
    connection.open()


class _Message(EmailMultiAlternatives):
    """A mail whose pictures are beside its HTML part in a multipart/related (RFC 2387).

    Beside the files, mail programs would list them as attachments.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pictures: list[MIMEImage] = []

    def message(self, **options: Any) -> Any:
        root: Any = super().message(**options)
        if self.pictures:
            parts: Any = root.walk()
            alternative = next(one for one in parts if one.get_content_type() == _ALTERNATIVE)
            *others, html = alternative.get_payload()
            related = SafeMIMEMultipart(_subtype="related")
            for part in (html, *self.pictures):
                related.attach(part)
            alternative.set_payload([*others, related])
        return root


def message_of(mail: OutgoingMail, connection: Any = None) -> EmailMultiAlternatives:
    """Return the message as it is sent: text and HTML, and the headers of automatic mail."""
    topic = Topic(mail.topic)
    host = urlsplit(settings.PKI_PORTAL_URL).hostname or "localhost"
    headers = {
        # RFC 3834 5: vacation programs and mailing lists must not reply.
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "List-Id": f"{topic.about.title} <{topic}.{host}>",
        # The same at each try, so that mail programs can drop a copy.
        "Message-ID": f"<{mail.pk}.{mail.written_at:%Y%m%d%H%M%S}@{host}>",
    }
    if topic.is_optional:
        headers["List-Unsubscribe"] = f"<{settings.PKI_PORTAL_URL}/account/mails/>"
    message = _Message(
        mail.subject,
        with_secrets(mail.body),
        settings.DEFAULT_FROM_EMAIL,
        [mail.recipient],
        headers=headers,
        reply_to=[mail.reply_to] if mail.reply_to else None,
        connection=connection,
    )
    if mail.html:
        message.attach_alternative(with_secrets(mail.html), "text/html")
    for file in mail.attachments.all():
        if file.content_id:
            message.pictures.append(_picture(file.content_id, file.name, bytes(file.content)))
        else:
            message.attach(file.name, bytes(file.content), file.media_type)
    return message


def _picture(content_id: str, name: str, content: bytes) -> MIMEImage:
    picture = MIMEImage(content)
    picture.add_header("Content-ID", f"<{content_id}>")
    picture.add_header("Content-Disposition", "inline", filename=name)
    return picture


@transaction.atomic
def _failed(mail: OutgoingMail, error: str, *, refused: bool) -> None:
    """Try again later, with growing pauses. A refused address is also an alert."""
    now = database_now()
    wait = BACKOFF_MINUTES[min(mail.tries, len(BACKOFF_MINUTES) - 1)]
    OutgoingMail.objects.filter(pk=mail.pk, lease_until=mail.lease_until).update(
        tries=mail.tries + 1,
        last_error=error[:300],
        not_before=now + timedelta(minutes=wait),
        lease_until=None,
    )
    log.warning("mail %s not sent (try %d), again in %d min: %s", mail.dedup_key, mail.tries + 1, wait, error)
    if refused:
        raise_alert(
            kind=AlertKind.MAIL_REFUSED,
            cause=_cause(mail.recipient),
            message=f"Mails to {mail.recipient} cannot be sent: {error}",
            next_step="Correct the address: of the account or the team in the admin, or in "
            "PKI_OPERATOR_EMAILS. Other mails are sent. This one is tried for a day.",
            now=now,
        )
    if refused and mail.written_at < now - GIVE_UP_REFUSED_AFTER:
        OutgoingMail.objects.filter(pk=mail.pk).update(given_up_at=now)


def _cause(recipient: str) -> str:
    return f"mail:{recipient}"[:128]


@transaction.atomic
def watch() -> int:
    """Open an alert while mails wait and none could be sent for LATE_AFTER; close it when one was.

    Returns the number of mails that wait so long. A refused address has an alert of its own.
    """
    now = database_now()
    old = waiting().filter(written_at__lt=now - LATE_AFTER).exclude(last_error__regex=_REFUSED)
    count: int = old.count()
    if count and not OutgoingMail.objects.filter(sent_at__gt=now - LATE_AFTER).exists():
        error = old.exclude(last_error="").order_by("-not_before").values_list("last_error", flat=True).first()
        raise_alert(
            kind=AlertKind.MAIL_LATE,
            cause="mail",
            message=f"No mail could be sent for an hour; {so_many(count, 'mail')} wait." + (f" The last error: {error}" if error else ""),
            next_step="Look at the mail server and at EMAIL_URL. Mails wait for seven days; nothing is lost until then.",
            now=now,
        )
    elif not count:
        close_alerts(kind=AlertKind.MAIL_LATE, cause="mail", now=now)
    return count


@transaction.atomic
def give_up_old() -> int:
    """Give up the mails that could not be sent for GIVE_UP_AFTER. Returns how many; an alert names
    the number. Mails about alerts included: the alert itself stays in the portal.
    """
    now = database_now()
    old = waiting().filter(written_at__lt=now - GIVE_UP_AFTER)
    count: int = old.update(given_up_at=now, lease_until=None)
    if count:
        raise_alert(
            kind=AlertKind.MAIL_GIVEN_UP,
            cause="mail",
            message=f"{count} mail(s) could not be sent for {GIVE_UP_AFTER.days} days and were given up.",
            next_step="Repair the mail server. The admin lists the mails with the last error; inform their recipients yourself.",
            now=now,
        )
    return count
