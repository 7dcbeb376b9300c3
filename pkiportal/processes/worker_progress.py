"""End a worker that can no longer accept messages, and show that a worker makes progress as long as it does.

kombu 5.7 forgets a message's prefetch slot only after the acknowledgement reached the broker. When it did not (the
connection was reset), the error is logged and the slot stays occupied. With all slots occupied a worker lives on, answers
`inspect ping`, and never takes another message. Messages that were not acknowledged are delivered again by the broker, so
nothing is lost when the process ends, and its supervisor starts another.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.worker import state
from django.conf import settings

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 5.0
EXIT_CODE = 1  # a failure, so that supervisors which restart only then do so


def show_progress() -> None:
    """Touch the file that health checks look at. A file that cannot be touched is logged and stops nothing."""
    try:
        Path(settings.PKI_WORKER_PROGRESS_FILE).touch()
    except OSError as exc:
        log.warning("PKI_WORKER_PROGRESS_FILE cannot be written, so the health check will fail: %s", exc.strerror)


class Progress(bootsteps.StartStopStep):  # type: ignore[misc] # celery has no types
    """Looks at the prefetch slots of the running consumer, and touches PKI_WORKER_PROGRESS_FILE while they are not stuck."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        self._stuck_since: float | None = None

    def include_if(self, consumer: Any) -> bool:
        """The embedded worker's queue is in its own memory: nothing can be reset there, and a thread is not restarted."""
        return not str(consumer.app.conf.broker_url).startswith("memory:")

    def start(self, consumer: Any) -> None:
        self.look(consumer)
        self._timer = consumer.timer.call_repeatedly(LOOK_EVERY_SECONDS, self.look, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._stuck_since = None, None

    def look(self, consumer: Any) -> None:
        # A slot that a running task occupies is given back within the task's time limit.
        if consumer.task_consumer.channel.qos.can_consume() or state.active_requests:
            self._stuck_since = None
            show_progress()
            return
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
        if now - self._stuck_since >= settings.PKI_WORKER_STUCK_SECONDS:
            log.critical(
                "This worker ends itself: its slots are occupied and no task has been running for %d s, because acknowledgements did"
                " not reach the broker. Its messages will be delivered again.",
                now - self._stuck_since,
            )
            state.should_stop = EXIT_CODE
