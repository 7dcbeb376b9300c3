"""Delete what is no longer needed: each part in batches, so that none delays others for long.

Certificates, requests, approvals, policy evaluations and the audit log are never deleted.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q, QuerySet

from certs.access.rates import forget_old
from certs.access.sessions import of_ended_sessions
from certs.enums import RequestState
from certs.models import Attempt, OperatorAlert, OutgoingMail, RequestDraft, UnclaimedResult, WebhookDelivery
from certs.requests.approvals.confirmation import forget_challenges
from certs.requests.states import FINAL
from db.clock import database_now

BATCH = 1000
PART_SECONDS = 20.0  # a part that is not done by then goes on at the next run
# A cancelled or rejected request of which an order may still be at the CA: `recovery` looks it up by its attempts.
_OPEN_AT_CA = ("lost", "unknown", "pending", "mismatch", "found")


def delete_expired_sessions() -> int:
    """Delete sessions that have ended. Returns how many."""
    return delete_in_batches(Session.objects.filter(expire_date__lt=database_now()))


def delete_ended_sessions() -> int:
    """Delete the facts about sessions that are gone. Returns how many."""
    return delete_in_batches(of_ended_sessions())


def delete_old_attempts() -> int:
    """Delete what was tried for requests that have ended, PKI_KEEP_ATTEMPTS_DAYS after it. Returns how many.

    What is needed to find an order at a CA again stays, and so does what an unclaimed result
    refers to.
    """
    ended = Q(request__state=RequestState.COMPLETED) | (Q(request__state__in=FINAL) & ~Q(outcome__in=_OPEN_AT_CA))
    rows = Attempt.objects.filter(ended, closed_at__lt=_days_ago(settings.PKI_KEEP_ATTEMPTS_DAYS))
    return delete_in_batches(rows.filter(~Exists(UnclaimedResult.objects.filter(attempt=OuterRef("pk")))))


def delete_old_mails() -> int:
    """Delete mails PKI_KEEP_MAILS_DAYS after they were written: sent ones, and those that were given up."""
    return delete_in_batches(OutgoingMail.objects.filter(written_at__lt=_days_ago(settings.PKI_KEEP_MAILS_DAYS)))


def delete_old_deliveries() -> int:
    """Delete messages to webhooks PKI_KEEP_MAILS_DAYS after they were written; not what waits."""
    rows = WebhookDelivery.objects.filter(created_at__lt=_days_ago(settings.PKI_KEEP_MAILS_DAYS))
    ended = Q(delivered_at__isnull=False) | Q(given_up_at__isnull=False)
    return delete_in_batches(rows.filter(ended))


def delete_old_alerts() -> int:
    """Delete alerts PKI_KEEP_ALERTS_DAYS after they were closed. Returns how many."""
    return delete_in_batches(OperatorAlert.objects.filter(closed_at__lt=_days_ago(settings.PKI_KEEP_ALERTS_DAYS)))


def delete_old_counters() -> int:
    """Delete counters of limits whose window has ended."""
    return forget_old(database_now())


def delete_old_challenges() -> int:
    """Delete challenges for approvals that no passkey answered in time."""
    return forget_challenges(database_now())


def delete_old_request_drafts() -> int:
    """Delete drafts of requests PKI_REQUEST_DRAFT_DAYS after their last change.

    One whose request is still under way stays: it holds why the certificate is needed.
    """
    rows = RequestDraft.objects.filter(expires_at__lt=database_now())
    return delete_in_batches(rows.filter(Q(request__isnull=True) | Q(request__state__in=FINAL)))


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Delete rows in statements of BATCH rows, each in a transaction of its own, for PART_SECONDS at most."""
    deleted, until = 0, time.monotonic() + PART_SECONDS
    while time.monotonic() < until:
        ids = list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH])
        if ids:
            # The condition once more: a row may have come to life since it was read.
            deleted += rows.filter(pk__in=ids).delete()[1].get(rows.model._meta.label, 0)
        if len(ids) < BATCH:
            break
    return deleted


def _days_ago(days: int) -> Any:
    return database_now() - timedelta(days=days)
