"""Deliver the messages of webhooks: signed, each alone, with growing pauses, bounded in time."""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
import standardwebhooks
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction
from django.db.models import Q, QuerySet

from audit.changes import attribute
from audit.log import Actor
from certs.enums import AlertKind
from certs.errors import InputRefused
from certs.models import Issuer, Webhook, WebhookDelivery
from certs.notifications.alerts import raise_alert, webhook_cause
from certs.notifications.audience import team_of
from certs.notifications.delivery.targets import parse_target, resolve
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.notifications.webhooks import secret_of
from db.clock import database_now
from keys.bounded import BoundedCalls

log = logging.getLogger(__name__)

SECONDS = 10.0  # for one message in all, however slow the receiver is
LEASE = timedelta(seconds=60)
RUN_SECONDS = 20.0  # no further message is begun after this
# The pauses of standardwebhooks.com; then the message is given up. It can be sent again by hand.
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
DISABLE_AFTER = timedelta(days=5)
GONE = 410  # a receiver that wants no more messages (RFC 9110 15.5.11)
SYSTEM = Actor("system", "webhooks")
_calls = BoundedCalls(most=16)


@dataclass(frozen=True, slots=True)
class Reply:
    """The status of a reply, or why there is none."""

    status: int | None
    error: str

    @property
    def is_accepted(self) -> bool:
        """Return whether the receiver has the message."""
        return self.status is not None and 200 <= self.status < 300


def deliver_due(limit: int = 200) -> int:
    """Deliver what is due. Returns how many messages were accepted.

    A receiver that fails gets no other message until its pause is over, so that it does not use
    the time of the others.
    """
    accepted, until = 0, time.monotonic() + RUN_SECONDS
    for _ in range(limit):
        delivery = _claim_next() if time.monotonic() < until else None
        if delivery is None:
            break
        accepted += _record(delivery, send(delivery))
    return accepted


def waiting() -> QuerySet[WebhookDelivery]:
    """Return the messages that wait for webhooks in use."""
    return WebhookDelivery.objects.filter(delivered_at=None, given_up_at=None, webhook__disabled_at=None, webhook__removed_at=None)


@transaction.atomic
def _claim_next() -> WebhookDelivery | None:
    now = database_now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    rows = waiting().filter(free, not_before__lte=now).select_related("webhook__team")
    delivery = rows.select_for_update(of=("self",), skip_locked=True).order_by("not_before", "pk").first()
    if delivery is not None:
        delivery.lease_until = now + LEASE
        delivery.save(update_fields=["lease_until"])
    return delivery


def send(delivery: WebhookDelivery) -> Reply:
    """Send one message to the address of its webhook. Raises nothing that the receiver can cause."""
    trust = _trust()  # read here: the thread of the call must not open a database connection
    # The database's clock: receivers refuse a time that is more than some minutes off, and this host's may be.
    signed_at = database_now()
    try:
        status = _calls.run(lambda: _post(delivery, trust, signed_at), seconds=SECONDS)
    except InputRefused as exc:
        return Reply(None, exc.message)
    except requests.exceptions.Timeout:
        return Reply(None, f"no complete reply within {SECONDS:g} seconds")
    except (urllib3.exceptions.HTTPError, OSError) as exc:
        # The text may quote addresses of the inside; the kind of error is enough to act on.
        return Reply(None, f"the connection failed ({type(exc).__name__})")
    if 300 <= status < 400:
        return Reply(status, "redirects are not followed")
    return Reply(status, "" if Reply(status, "").is_accepted else f"it returned status {status}")


def _post(delivery: WebhookDelivery, trust: ssl.SSLContext, signed_at: datetime) -> int:
    """Return the status of the receiver's reply. The name is looked up and checked anew, and the connection goes to exactly that address.

    Between a check and a second look-up the name could be given another address (DNS rebinding).
    """
    target = parse_target(delivery.webhook.url)
    address = str(resolve(target))
    options: dict[str, Any] = {"timeout": urllib3.Timeout(connect=5, read=SECONDS), "retries": False}
    if target.scheme == "https":
        pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
            address,
            target.port,
            ssl_context=trust,
            server_hostname=target.host,
            assert_hostname=target.host,
            **options,
        )
    else:
        pool = urllib3.HTTPConnectionPool(address, target.port, **options)
    with pool:
        headers = {
            "Host": target.authority,
            "Content-Type": "application/json",
            "User-Agent": "PKI-Portal-Webhook",
            **signature_headers(delivery, signed_at),
        }
        response = pool.urlopen(
            "POST",
            target.path,
            body=delivery.body.encode(),
            headers=headers,
            redirect=False,
            preload_content=False,
        )
        response.close()  # only the status is of use here
        return response.status


def signature_headers(delivery: WebhookDelivery, signed_at: datetime) -> dict[str, str]:
    """Return the headers of standardwebhooks.com: id, time and signature of this try."""
    signer = standardwebhooks.Webhook(secret_of(delivery.webhook))
    return {
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": signer.sign(delivery.message_id, signed_at, delivery.body),
    }


def _trust() -> ssl.SSLContext:
    """Return the system's roots, and the portal's own: receivers inside often have its certificates."""
    context = ssl.create_default_context()
    for issuer in Issuer.objects.filter(trust_anchor_der__isnull=False).only("trust_anchor_der"):
        root = x509.load_der_x509_certificate(bytes(issuer.trust_anchor_der or b""))
        context.load_verify_locations(cadata=root.public_bytes(Encoding.PEM).decode())
    return context


@transaction.atomic
def _record(delivery: WebhookDelivery, reply: Reply) -> bool:
    now = database_now()
    mine = WebhookDelivery.objects.filter(pk=delivery.pk, lease_until=delivery.lease_until)
    hook = Webhook.objects.select_for_update(of=("self",)).select_related("team").get(pk=delivery.webhook_id)
    tries = delivery.tries + 1
    values: dict[str, Any] = {
        "tries": tries,
        "last_tried_at": now,
        "last_status": reply.status,
        "last_error": reply.error[:300],
        "lease_until": None,
    }
    if reply.is_accepted:
        mine.update(**values, delivered_at=now)
        if hook.failing_since is not None:
            hook.failing_since = None
            hook.save(update_fields=["failing_since"])
        return True
    again = now + PAUSES[min(tries, len(PAUSES)) - 1]
    mine.update(**values, not_before=again, given_up_at=now if tries > len(PAUSES) else None)
    # The others of this receiver wait as long, and in their order.
    waiting().filter(webhook=hook, not_before__lt=again).update(not_before=again)
    hook.failing_since = hook.failing_since or now
    if reply.status == GONE or hook.failing_since <= now - DISABLE_AFTER:
        _disable(hook, reply, now)
    hook.save(update_fields=["failing_since", "disabled_at"])
    return False


def _disable(hook: Webhook, reply: Reply, now: datetime) -> None:
    hook.disabled_at = now
    attribute(hook, SYSTEM)
    raise_alert(
        kind=AlertKind.WEBHOOK_DISABLED,
        cause=webhook_cause(hook.pk),
        message=f"The webhook {hook.name} of team {hook.team.name} was disabled: {reply.error}",
        next_step="The team was notified. Its members repair the receiver and enable the webhook on its page.",
        now=now,
    )
    notify(
        Topic.POWER,
        key=f"webhook:disabled:{hook.pk}:{now:%Y%m%d%H%M%S}",
        audience=team_of(hook.team),
        subject=f"Webhook {hook.name} of team {hook.team.name} was disabled",
        template="webhook_disabled",
        context={"hook": hook, "reply": reply, "since": hook.failing_since},
        now=now,
    )
