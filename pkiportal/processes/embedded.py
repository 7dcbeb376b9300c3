"""A Celery worker, and beat if wanted, inside this process: the same tasks and canvas as in production, without a broker.

The memory queue dies with the process; that is allowed, because every request is a row and the sweeper starts what stopped
still. Exactly one web process may run this way.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery.beat import EmbeddedService
from celery.concurrency.thread import TaskPool
from celery.worker import WorkController

from pkiportal.celery import app

log = logging.getLogger(__name__)

_started = threading.Lock()
_started_in = 0  # process id


class _Threads(TaskPool):  # type: ignore[misc] # celery has no types
    """Celery's pool of threads, in a process that ends with its command."""

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Start a task. Once the command has ended no thread can be started: its unfinished work is in the
        rows, and the sweeper of the next worker continues it.
        """
        try:
            return super().on_apply(*args, **kwargs)
        except RuntimeError as exc:
            # The pool refuses before the main thread counts as ended: threads of tasks are waited for in between.
            if threading.main_thread().is_alive() and "cannot schedule new futures" not in str(exc):
                raise
            return None


class _EmbeddedWorker(WorkController):  # type: ignore[misc] # celery has no types
    """Signals when it accepts messages. Unlike `celery.apps.worker.Worker` it installs no signal handlers, so a thread may run it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.takes_messages = threading.Event()
        super().__init__(*args, **kwargs)

    def on_consumer_ready(self, _consumer: object) -> None:
        self.takes_messages.set()


def start(*, concurrency: int = 4, beat: bool = False) -> None:
    """Start the worker, once a process. Raises RuntimeError when it does not take messages within 20 s, and in the child of a
    process that has one already: its threads stayed behind, and requests would stand at `submitted` without a word.
    """
    global _started_in  # noqa: PLW0603 - one worker a process
    if not _started.acquire(blocking=False):
        if _started_in != os.getpid():
            raise RuntimeError("An embedded worker was started before this process was forked; start it in the child only.")
        return
    _started_in = os.getpid()
    worker = _EmbeddedWorker(
        app=app,
        pool_cls=_Threads,
        concurrency=concurrency,
        hostname="embedded@local",
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    threading.Thread(target=worker.start, name="embedded-worker", daemon=True).start()
    if not worker.takes_messages.wait(20):
        raise RuntimeError("The embedded worker did not start within 20 seconds; see the log above for its reason.")
    if beat:
        service = EmbeddedService(app, thread=True, max_interval=2, scheduler_cls=app.conf.beat_scheduler)
        service.daemon = True
        service.start()
    log.info("embedded worker started (beat: %s)", beat)
