"""The mail with which a person sets a new password.

Sent by the worker and written to no row: whoever reads the table of outgoing mails, or a message of
the queue, gets no link that opens an account.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from celery import signature
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMultiAlternatives
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from kombu.exceptions import OperationalError

from certs.notifications.delivery.rendering import render
from certs.notifications.topics import Topic

log = logging.getLogger(__name__)
TASK = "certs.tasks.send_password_reset"
NOBODY = 0


def may_reset(user: Any) -> bool:
    """Return whether the account has a password that a mail may replace."""
    return bool(user.is_active and user.email and user.has_usable_password())


def ask_for_mail(user: Any) -> None:
    """Let the worker send the mail; the same work for nobody, so that both take the same time."""
    pk = user.pk if user is not None and may_reset(user) else NOBODY
    try:
        signature(TASK, args=(pk,)).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, no mail for a new password: %s", exc)


def send_reset(pk: int) -> bool:
    """Send the mail to the account. Returns whether there was one to send."""
    user: Any = get_user_model().objects.filter(pk=pk).first()
    if user is None or not may_reset(user):
        return False
    uid, token = urlsafe_base64_encode(force_bytes(user.pk)), default_token_generator.make_token(user)
    mail = render(
        "password_reset",
        topic=Topic.POWER,
        subject="Set a new password for the PKI Portal",
        context={
            "path": reverse("password-reset", args=(uid, token)),
            "name": user.get_username(),
            "minutes": settings.PASSWORD_RESET_TIMEOUT // 60,
        },
    )
    host = urlsplit(settings.PKI_PORTAL_URL).hostname or "localhost"
    headers = {"Auto-Submitted": "auto-generated", "List-Id": f"{Topic.POWER.about.title} <{Topic.POWER}.{host}>"}
    message = EmailMultiAlternatives(mail.subject, mail.text, settings.DEFAULT_FROM_EMAIL, [user.email], headers=headers)
    message.attach_alternative(mail.html, "text/html")
    message.send()
    return True
