"""The Celery canvas: one chain of steps over a batch of request ids. Tasks are named, never imported (they import us).

The queue is a hint. If the broker cannot be reached, the rows say what is to be done and the sweeper does it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import chain, signature
from django.db import transaction
from kombu.exceptions import OperationalError

from certs.terms import RequestState as S

log = logging.getLogger(__name__)

STEP_TASKS: dict[S, str] = {
    S.SUBMITTED: "certs.tasks.check_policy",
    S.APPROVED: "certs.tasks.ensure_keys",
    S.KEY_READY: "certs.tasks.create_csrs",
    S.CSR_CREATED: "certs.tasks.submit_to_ca",
    S.ISSUED: "certs.tasks.record_inventory",
}


def start_on_commit(ids: Sequence[int], *, at: S = S.SUBMITTED) -> None:
    """Start the chain when the open transaction is committed."""
    transaction.on_commit(lambda: start(ids, at=at))


def start(ids: Sequence[int], *, at: S = S.SUBMITTED) -> bool:
    """Publish the chain of the steps from `at` on. False when the broker cannot be reached: the sweeper will start it."""
    names = [task for state, task in STEP_TASKS.items() if list(STEP_TASKS).index(state) >= list(STEP_TASKS).index(at)]
    first, *rest = names
    canvas = chain(signature(first, args=(list(ids),)), *(signature(name) for name in rest))
    try:
        canvas.apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %d request(s) wait for the sweeper: %s", len(ids), exc)
        return False
    return True
