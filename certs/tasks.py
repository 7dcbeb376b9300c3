"""Thin Celery wrappers around the workflow's batch steps. Each hands on the same ids; a step picks by state what is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from celery import shared_task
from django.conf import settings
from kombu.exceptions import OperationalError

from certs.access import login_limits
from certs.access.api_tokens import end_orphaned_tokens
from certs.issuance.turn import Turn, run_parts
from certs.notifications import mail
from certs.status import maintenance, reconciliation
from certs.workflow import destruction, expiry, holding, recovery, revoking, steps, succession
from certs.workflow.bulk import chunks, dispatching, drafting
from certs.workflow.steps.keys import KeysUnavailable

log = logging.getLogger(__name__)


@shared_task
def check_policy(ids: Sequence[int]) -> Sequence[int]:
    return steps.check_policy(ids)


@shared_task(bind=True, max_retries=None)
def ensure_keys(self: Any, ids: Sequence[int]) -> Sequence[int]:
    return _with_key_retries(self, ids, steps.ensure_keys)


@shared_task(bind=True, max_retries=None)
def create_csrs(self: Any, ids: Sequence[int]) -> Sequence[int]:
    return _with_key_retries(self, ids, steps.create_csrs)


@shared_task(bind=True, max_retries=None)
def submit_to_ca(self: Any, ids: Sequence[int], *, complete: bool = False) -> Sequence[int]:
    """A CA that does not take orders is tried again after 1, 2 and 4 seconds; then the requests are held and the operator told."""
    try:
        return steps.submit_to_ca(ids, complete=complete)
    except steps.Unavailable as exc:
        _retry(self, exc, ids)
        holding.hold_for_ca(exc.ids, exc.message)
    return ids


@shared_task
def record_inventory(ids: Sequence[int]) -> Sequence[int]:
    return steps.record_inventory(ids)


@shared_task
def dispatch_bulk() -> int:
    return dispatching.dispatch_or_finish()


@shared_task(bind=True)
def make_chunk(self: Any, chunk: int) -> Sequence[int]:
    return _or_end(self, chunk, chunks.make_chunk(chunk))


@shared_task(bind=True)
def issue_chunk(self: Any, chunk: int) -> Sequence[int]:
    return _or_end(self, chunk, chunks.issue_chunk(chunk))


@shared_task
def end_chunk(chunk: int) -> bool:
    return dispatching.end_chunk(chunk)


@shared_task
def close_chunks() -> int:
    return dispatching.close_chunks()


@shared_task
def forget_old_drafts() -> int:
    return drafting.forget_old_drafts()


@shared_task
def sweep_bulk() -> int:
    drafting.forget_broken_drafts()
    return dispatching.sweep_chunks()


@shared_task
def sweep() -> int:
    end_orphaned_tokens()
    return recovery.restart_standing()


@shared_task
def process_revocations() -> int:
    """Own CRLs are begun first: a CA elsewhere that is slow to answer must not hold them up."""
    try:
        publish_status.apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, the CRLs wait for beat: %s", exc)
    return revoking.process_revocations()


@shared_task
def publish_status() -> dict[str, int]:
    return maintenance.keep_status_information()


# What needs the CA role, each part alone: first what costs no time, then what may meet a silent CA.
SWEEP_PARTS: tuple[tuple[str, Callable[[Turn], int]], ...] = (
    ("renewals_cancelled", lambda _turn: succession.cancel_stopped_renewals()),
    ("released", recovery.release_for_answering_cas),
    ("quarantine_revoked", recovery.revoke_quarantined),
    ("settled", recovery.settle_unclaimed),
    ("cleared", recovery.clear_after_the_end),
    ("revoked", revoking.process_revocations),
)


@shared_task
def sweep_ca() -> dict[str, int | str]:
    """Resume what was held for a CA that works again, and see to wrong, late and unwanted certificates."""
    return run_parts(SWEEP_PARTS, Turn())


@shared_task
def reconcile_cas() -> int:
    """Certificates at CAs that nobody here knows, or that were revoked there without us."""
    return sum(len(one["found"]) + len(one["revoked"]) for one in reconciliation.reconcile_every_ca())


@shared_task
def destroy_keys() -> int:
    return destruction.process_destructions()


@shared_task
def sweep_keys() -> int:
    return recovery.release_for_answering_keys()


@shared_task
def check_expiry() -> dict[str, int]:
    """The numbers only: what was done is in the rows and the audit log."""
    done = expiry.check_expiry()
    return {"checked": done.checked, "renewed": len(done.renewed), "refused": len(done.refused)}


@shared_task
def send_notifications() -> int:
    return mail.send_due()


def _or_end(task: Any, chunk: int, ids: Sequence[int]) -> Sequence[int]:
    """A chunk that has nothing left to do ends here: the rest of its chain would find nothing, and each of its tasks costs a worker
    some milliseconds of waiting for the broker.
    """
    if not ids:
        task.request.chain = None
        dispatching.end_chunk(chunk)
    return ids


def _with_key_retries(task: Any, ids: Sequence[int], step: Any) -> Sequence[int]:
    try:
        done: Sequence[int] = step(ids)
    except KeysUnavailable as exc:
        _retry(task, exc, ids)
        holding.hold_for_keys(exc.ids, exc.message)
        done = ids
    return done


def _retry(task: Any, exc: Exception, ids: Sequence[int]) -> None:
    """Celery's own retry with the pauses of PKI_CA_RETRY_SECONDS, in the same place of the chain. Returns once they are used up."""
    pauses = settings.PKI_CA_RETRY_SECONDS
    if task.request.retries < len(pauses):
        raise task.retry(args=[list(ids)], countdown=pauses[task.request.retries], exc=exc)


@shared_task
def close_sign_in_windows() -> int:
    """Sum up ended windows of the sign-in limits in the audit log, and delete their rows."""
    return login_limits.close_windows()
