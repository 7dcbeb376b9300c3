"""Messages for the webhooks of teams: written with the notice, delivered afterwards."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from certs.inventory.states import CertificateState, states_of
from certs.models import Certificate, CertificateRequest, Webhook, WebhookDelivery
from certs.notifications.topics import Topic

CERTIFICATES_A_MESSAGE = 100
NAMES_A_CERTIFICATE = 20


def queue_deliveries(topic: Topic, *, key: str, certificates: Sequence[Certificate], subject: str, now: datetime) -> int:
    """Write a message for each webhook of the certificates' teams that wants the topic.

    A message names at most CERTIFICATES_A_MESSAGE certificates; more go into further messages.
    A message about the same certificates under the same `key` is written once. Returns the number
    of messages. Needs the transaction of what the notice is about.
    """
    by_team: dict[int, list[Certificate]] = {}
    for certificate in certificates:
        by_team.setdefault(certificate.team_id, []).append(certificate)
    hooks = Webhook.objects.filter(team__in=by_team, removed_at=None, disabled_at=None)
    wanted = [hook for hook in hooks.select_related("team") if topic in hook.topics]
    if not wanted:
        return 0
    concerned = [one for hook in wanted for one in by_team[hook.team_id]]
    names, states = _names_of(concerned), states_of([one.pk for one in concerned], now)
    made = []
    for hook in wanted:
        rows = by_team[hook.team_id]
        for first in range(0, len(rows), CERTIFICATES_A_MESSAGE):
            group = rows[first : first + CERTIFICATES_A_MESSAGE]
            document = {
                "type": f"certificate.{topic}",
                "timestamp": now.isoformat(timespec="seconds"),
                "data": {
                    "topic": str(topic),
                    "team": hook.team.slug,
                    "summary": subject,
                    "certificates": [_as_json(one, names[one.request_id], states[one.pk]) for one in group],
                },
            }
            one = new_delivery(hook, topic=topic, document=document, now=now)
            one.message_id = _message_id(key, hook, group)
            made.append(one)
    WebhookDelivery.objects.bulk_create(made, ignore_conflicts=True)
    return len(made)


def teams_with_webhooks() -> set[int]:
    """Return the ids of the teams that have a webhook in use, for some topic."""
    return set(Webhook.objects.filter(removed_at=None, disabled_at=None).values_list("team", flat=True))


def new_delivery(hook: Webhook, *, topic: str, document: dict[str, Any], now: datetime) -> WebhookDelivery:
    """Return an unsaved message to the webhook, due at once."""
    return WebhookDelivery(
        webhook=hook,
        message_id=f"msg_{secrets.token_hex(12)}",
        topic=topic,
        body=json.dumps(document, separators=(",", ":")),
        created_at=now,
        not_before=now,
    )


def _message_id(key: str, hook: Webhook, certificates: Sequence[Certificate]) -> str:
    parts = [key, str(hook.pk), *(one.cert_id for one in certificates)]
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def _names_of(certificates: Sequence[Certificate]) -> dict[int, list[str]]:
    """Return the names by request: those of a certificate may be written later than the notice."""
    rows = CertificateRequest.objects.filter(pk__in={one.request_id for one in certificates})
    return {pk: [*dns_names, *ip_addresses] for pk, dns_names, ip_addresses in rows.values_list("pk", "dns_names", "ip_addresses")}


def _as_json(certificate: Certificate, names: Sequence[str], state: CertificateState) -> dict[str, Any]:
    return {
        "cert_id": certificate.cert_id,
        "common_name": certificate.common_name,
        "names": list(names[:NAMES_A_CERTIFICATE]),
        "names_total": len(names),
        "state": state.value,
        "status": certificate.status,
        "serial_number": certificate.serial_number,
        "not_after": certificate.not_after.isoformat(timespec="seconds"),
        "link": f"{settings.PKI_PORTAL_URL}/certificates/{certificate.cert_id}/",
    }
