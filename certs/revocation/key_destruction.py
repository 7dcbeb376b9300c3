"""Destroy a key whose certificates are all revoked or expired: requested by people, done by the one worker that may.

The order is written with the revocation. A process whose login may destroy (queue `destroy`) carries it out, and the
receipt in the audit log names the key, its backend and every certificate that it served.
"""

from __future__ import annotations

import logging
from datetime import datetime

from celery import signature
from django.db import transaction
from kombu.exceptions import OperationalError

from audit.events import EventType
from audit.log import Value, record
from certs.access.permissions import Authority
from certs.enums import AlertKind
from certs.models import Certificate
from certs.notifications.alerts import close_alerts, raise_alert
from db.clock import database_now
from keys.errors import KeyBackendError
from keys.lifecycle.destroy import finish_destructions, intend_destruction

log = logging.getLogger(__name__)

_SHOWN = 5


def order_destruction(certificate: Certificate, *, authority: Authority, now: datetime) -> str:
    """Order the destruction of the certificate's key. Returns why it is not possible, or an empty text.

    Needs an open transaction. A refusal is no error: the revocation must not fail because a key cannot be destroyed.
    Effects: the key's row, `key:destruction_requested`; after the commit the task of the queue `destroy`.
    """
    key = certificate.key
    if key is None:
        return "The key is its owner's own; the portal has only its public half."
    living = Certificate.objects.filter(spki_sha256=certificate.spki_sha256, not_after__gt=now)
    # A hold can be released, and the certificate would be good without a key.
    held = living.filter(revocation__reason="certificateHold").exclude(status=Certificate.Status.GOOD)
    if held.exists():
        return "A certificate on this key is only on hold; release it or make the revocation final first."
    serving = list(living.filter(status=Certificate.Status.GOOD).values_list("cert_id", flat=True)[: _SHOWN + 1])
    if serving:
        more = " and more" if len(serving) > _SHOWN else ""
        return f"It still serves {', '.join(serving[:_SHOWN])}{more}; revoke those first."
    served = list(Certificate.objects.filter(spki_sha256=certificate.spki_sha256).order_by("pk").values_list("cert_id", flat=True))
    reason = f"{certificate.cert_id} was revoked"
    intended = intend_destruction([key.pk], reason=reason, certificates={key.pk: served}, actor=authority.actor, now=now)
    refused = intended.get(key.pk)
    if isinstance(refused, KeyBackendError):
        return refused.for_people
    data: dict[str, Value] = {"key": key.locator, "version": key.version, "backend": key.backend, "because_of": certificate.cert_id}
    record(EventType.KEY_DESTRUCTION_REQUESTED, subject=f"key:{key.pk}", actor=authority.actor, at=now, data=data)
    transaction.on_commit(begin_destroying)
    return ""


def begin_destroying() -> None:
    """Start the task that destroys. Without a broker the schedule does it."""
    try:
        signature("certs.tasks.destroy_keys").apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the key waits for the schedule: %s", exc)


def process_destructions() -> int:
    """Destroy the keys whose destruction was ordered. Returns how many were destroyed. Safe to run twice at once."""
    # The backend is called with no transaction open; the alerts about the results follow in one of their own. After a crash
    # in between, the next run raises those that are still true.
    results = finish_destructions()
    with transaction.atomic():
        now = database_now()
        for key_id, error in results.items():
            cause = f"key:{key_id}"
            if error is None:
                close_alerts(kind=AlertKind.KEY_NOT_DESTROYED, cause=cause, now=now)
                continue
            raise_alert(
                kind=AlertKind.KEY_NOT_DESTROYED,
                cause=cause,
                message=f"A key could not be destroyed: {error}",
                next_step="Nothing is signed with it, and it is tried again. See that the worker of the queue `destroy` has its login, "
                "or run `manage.py destroy_keys` with one.",
                now=now,
            )
    return sum(error is None for error in results.values())
