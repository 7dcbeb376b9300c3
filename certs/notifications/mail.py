"""Mails: written in the transaction of the thing they tell of, sent by a task of their own, each at most once for its key.

A mail server that is down, slow or refusing never holds up issuance (RELIABILITY F14).
"""

from __future__ import annotations

import logging
import smtplib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.errors import MessageError
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string

from audit.clock import database_now
from certs.models import OutgoingMail

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
RUN_SECONDS = 20.0
BACKOFF_MINUTES = (1, 2, 5, 10, 30)  # then every 30 minutes
GIVE_UP_AFTER = timedelta(days=7)


def write_mail(*, dedup_key: str, to: Sequence[str], subject: str, template: str, context: Mapping[str, Any], now: datetime) -> None:
    """Put a mail on the list. Needs an open transaction; a key that is there already writes nothing."""
    if not to:
        log.warning("nobody to tell: %s has no recipient (set PKI_OPERATOR_EMAILS, or an address for the team)", dedup_key)
        return
    body = render_to_string(f"email/{template}.txt", dict(context))
    OutgoingMail.objects.bulk_create(
        [
            OutgoingMail(
                dedup_key=dedup_key, to=list(to), subject=" ".join(subject.split())[:200], body=body, written_at=now, not_before=now
            )
        ],
        ignore_conflicts=True,
    )


def send_due(limit: int = 50) -> int:
    """Send what is due; return how many mails went out. A failed one is tried again later, with
    growing pauses.

    Each mail is claimed just before it is sent: a server that takes seconds for each would outlive
    a lease on all of them, and another run would send the rest a second time. While a mail of
    another run is on its way this one sends nothing, and no run lasts much longer than
    RUN_SECONDS: its worker has other work.
    """
    sent, until = 0, time.monotonic() + RUN_SECONDS
    for _ in range(limit):
        mail = _claim_next() if time.monotonic() < until else None
        if mail is None:
            break
        sent += _send(mail)
    return sent


@transaction.atomic
def _claim_next() -> OutgoingMail | None:
    now = database_now()
    if OutgoingMail.objects.filter(sent_at__isnull=True, lease_until__gt=now).exists():
        return None  # a slow server must not occupy every process of the worker
    mail = (
        OutgoingMail.objects.select_for_update(skip_locked=True)
        .filter(
            Q(lease_until__isnull=True) | Q(lease_until__lt=now),
            sent_at__isnull=True,
            not_before__lte=now,
            written_at__gt=now - GIVE_UP_AFTER,
        )
        .order_by("not_before")
        .first()
    )
    if mail is not None:
        OutgoingMail.objects.filter(pk=mail.pk).update(lease_until=now + LEASE)
    return mail


def _send(mail: OutgoingMail) -> bool:
    message = EmailMessage(
        mail.subject,
        mail.body,
        settings.DEFAULT_FROM_EMAIL,
        mail.to,
        headers={"Message-ID": f"<{mail.pk}.{mail.written_at:%Y%m%d%H%M%S}@pki-portal>"},
    )
    try:
        message.send()
    except (OSError, smtplib.SMTPException, MessageError, ValueError) as exc:
        # The last two: an address or a subject that no mail can have. Its mail waits; others go on.
        wait = BACKOFF_MINUTES[min(mail.tries, len(BACKOFF_MINUTES) - 1)]
        again = database_now() + timedelta(minutes=wait)
        OutgoingMail.objects.filter(pk=mail.pk).update(tries=mail.tries + 1, last_error=str(exc)[:300], not_before=again, lease_until=None)
        log.warning("mail %s not sent (try %d), again in %d min: %s", mail.dedup_key, mail.tries + 1, wait, exc)
        return False
    OutgoingMail.objects.filter(pk=mail.pk).update(sent_at=database_now(), tries=mail.tries + 1, lease_until=None)
    return True
