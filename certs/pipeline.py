"""Celery chains of steps over a batch of request ids. Tasks are named, not imported, because they import this module.

The queue is a hint. If the broker cannot be reached, the rows say what is to be done and the sweeper does it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from celery import Signature, chain, current_app, signature
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from certs.enums import RequestState as S
from certs.models import BulkChunk

log = logging.getLogger(__name__)

STEP_TASKS: dict[S, str] = {
    S.SUBMITTED: "certs.tasks.check_policy",
    S.APPROVED: "certs.tasks.ensure_keys",
    S.KEY_READY: "certs.tasks.create_csrs",
    S.CSR_CREATED: "certs.tasks.submit_to_ca",
    S.ISSUED: "certs.tasks.record_inventory",
}
SUBMIT_TO_REMOTE = "certs.tasks.submit_to_remote_ca"


def start_on_commit(ids: Sequence[int], *, at: S = S.SUBMITTED, bulk: bool = False) -> None:
    """Start the chain when the open transaction is committed."""
    transaction.on_commit(lambda: start(ids, at=at, bulk=bulk))


def start(ids: Sequence[int], *, at: S = S.SUBMITTED, bulk: bool = False) -> bool:
    """Publish the chain of the steps from `at` on. Returns False when the broker cannot be reached: the sweeper will start it.

    `bulk`: on the bulk queues, which workers look at last, so that single requests do not wait behind it. Such requests have
    left the chain of their chunk, so the chain ends with a check whether the chunk, and its order, are complete.
    """
    names = [task for state, task in STEP_TASKS.items() if list(STEP_TASKS).index(state) >= list(STEP_TASKS).index(at)]
    first, *rest = names
    tasks = [signature(first, args=(list(ids),)), *(signature(name) for name in rest)]
    if bulk:
        tasks.append(signature("certs.tasks.close_chunks", immutable=True))
    try:
        chain(*(in_lane(task, bulk=bulk) for task in tasks)).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %d request(s) wait for the sweeper: %s", len(ids), exc)
        return False
    return True


def start_remote(ids: Sequence[int], *, bulk: bool = False) -> bool:
    """Publish submissions to remote CAs, in the queue whose workers do nothing else.

    Returns False when there is no room in that queue or the broker cannot be reached: the sweeper tries again.
    """
    if not room_in(queue_of(SUBMIT_TO_REMOTE, bulk=bulk)):
        return False
    tasks = [in_lane(signature(SUBMIT_TO_REMOTE, args=(list(ids),)), bulk=bulk)]
    if bulk:
        tasks.append(in_lane(signature("certs.tasks.close_chunks", immutable=True), bulk=True))
    try:
        chain(*tasks).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %d request(s) wait for the sweeper: %s", len(ids), exc)
        return False
    return True


def in_lane(task: Signature, *, bulk: bool) -> Signature:
    """Return the task for its bulk queue, or as it is routed (settings.CELERY_TASK_ROUTES)."""
    return task.set(queue=queue_of(task.task, bulk=True)) if bulk else task


def queue_of(task: str, *, bulk: bool) -> str:
    """Return the queue of a task, or the bulk queue beside it."""
    queue: str = settings.CELERY_TASK_ROUTES.get(task, {}).get("queue", settings.CELERY_TASK_DEFAULT_QUEUE)
    return f"{queue}-bulk" if bulk else queue


def first_task_of(chunk: BulkChunk) -> str:
    """Return the first task of a chunk: where its keys are made, or, for external CSRs, where the CA is."""
    return "certs.tasks.make_chunk" if chunk.key_backend else "certs.tasks.issue_chunk"


def room_in(queue: str) -> int:
    """Return how many messages the sweeper and beat may still put into a queue (PKI_SWEEP_QUEUE_MOST).

    Both send again what may have been lost. While the workers of a queue are away nothing is lost: the messages wait there,
    and sending them again would only fill the broker. Where the broker cannot be asked, there is room: publishing will show
    what is wrong with it.
    """
    most: int = settings.PKI_SWEEP_QUEUE_MOST
    with current_app.connection_for_write() as connection:
        try:
            connection.connect()
            waiting: int = connection.default_channel.queue_declare(queue=queue, passive=True).message_count
        except connection.channel_errors:
            return most  # nothing was ever sent there, or Redis has forgotten the queue since it is empty
        except (*connection.connection_errors, OperationalError, OSError) as exc:
            log.warning("the broker does not say how full %s is: %s", queue, exc)
            return most
    if waiting >= most:
        log.warning("%d messages wait in the queue %s: is a worker listening to it? Nothing more is sent there.", waiting, queue)
    return max(0, most - waiting)


def send_if_room(task: str, *args: int) -> None:
    """Publish a task that the next run sends again anyway, unless its queue is full because the workers are away."""
    try:
        if room_in(queue_of(task, bulk=False)):
            signature(task, args=args).apply_async(retry=False)
    except (OperationalError, OSError) as exc:
        log.warning("broker unreachable, %s waits for beat: %s", task, exc)
