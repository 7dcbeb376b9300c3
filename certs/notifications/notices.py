"""Write notices: one mail for each recipient, and one delivery for each webhook concerned."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from certs.models import Certificate, MailAttachment, OutgoingMail
from certs.notifications.audience import Audience
from certs.notifications.delivery.bundles import Line, fields_of, held_until
from certs.notifications.delivery.deliveries import queue_deliveries
from certs.notifications.delivery.rendering import render
from certs.notifications.topics import Topic

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail; with a `content_id` an inline picture, shown by `<img src="cid:...">`."""

    name: str
    media_type: str
    content: bytes
    content_id: str = ""


def notify(
    topic: Topic,
    *,
    key: str,
    audience: Audience,
    subject: str,
    template: str,
    context: Mapping[str, Any],
    now: datetime,
    certificates: Sequence[Certificate] = (),
    reply_to: str = "",
    attachments: Sequence[Attachment] = (),
    bundle: Line | None = None,
) -> int:
    """Write one mail for each recipient who has not switched the topic off. Returns how many.

    A recipient who has a mail of the same `key` already gets no second one. Needs the transaction
    of what the notice is about. `certificates` are those that it is about: they go to the webhooks
    of their teams, independently of the mails. With a `bundle` the mail may wait for others of its
    kind and go in one mail with them (`delivery.bundles`).

    Effects: rows of OutgoingMail, MailAttachment and WebhookDelivery; no network call.
    """
    queue_deliveries(topic, key=key, certificates=certificates, subject=subject, now=now)
    if not audience:
        log.warning("notice %s has no recipient: set PKI_OPERATOR_EMAILS or a team's address", key)
        return 0
    recipients = audience.recipients(topic)
    known = OutgoingMail.objects.filter(dedup_key=key, recipient__in=recipients)
    fresh = sorted(set(recipients) - set(known.values_list("recipient", flat=True)))
    if not fresh:
        return 0
    rendered = render(template, topic=topic, subject=subject, context=context)
    held = held_until(bundle.kind, fresh, now=now) if bundle else {}
    in_bundle = fields_of(bundle) if bundle else {}
    mails = [
        OutgoingMail(
            dedup_key=key,
            topic=topic,
            recipient=recipient,
            reply_to=reply_to,
            subject=rendered.subject,
            body=rendered.text,
            html=rendered.html,
            written_at=now,
            not_before=held.get(recipient, now),
            **in_bundle,
        )
        for recipient in fresh
    ]
    # Another transaction may have written the same key since: the constraint decides.
    OutgoingMail.objects.bulk_create(mails, ignore_conflicts=True)
    if attachments:
        _attach(key, fresh, attachments)
    return len(fresh)


def _attach(key: str, recipients: Sequence[str], attachments: Sequence[Attachment]) -> None:
    written = OutgoingMail.objects.filter(dedup_key=key, recipient__in=recipients)
    MailAttachment.objects.bulk_create(
        MailAttachment(
            mail=mail,
            name=one.name,
            media_type=one.media_type,
            content_id=one.content_id,
            content=one.content,
        )
        for mail in written.filter(attachments__isnull=True)
        for one in attachments
    )
