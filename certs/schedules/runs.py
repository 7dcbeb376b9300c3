"""Runs of tasks: a period of a schedule begins once, and its begin, end and result are recorded."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from celery import Task
from celery.exceptions import Ignore
from django.conf import settings
from django.db import Error

log = logging.getLogger(__name__)

MARGIN = timedelta(seconds=30)  # after its time limit a run is given up


class PortalTask(Task):  # type: ignore[misc] # celery has no types
    """The base of every task of the portal: records what its queue finishes, and the runs that a schedule sent.

    Celery's own hooks are used. They run before the database connection is given back, which
    receivers of `task_postrun` would open again.
    """

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Refuse a message whose period is done or is being worked on."""
        name, period = _of_schedule(self.request)
        if period is None:
            return
        limit = timedelta(seconds=self.time_limit or settings.CELERY_TASK_TIME_LIMIT) + MARGIN
        if not _begin(name, period, task_id, limit):
            log.info("%s has run for %s already: this message is left out", name, period.isoformat())
            raise Ignore

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        name, period = _of_schedule(self.request)
        if period is not None:
            _end(name, period, task_id, "")

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Record the failure. The error's text may quote anything, so only its type is kept."""
        name, period = _of_schedule(self.request)
        if period is not None:
            _end(name, period, task_id, f"{type(exc).__name__}; the worker's log has the traceback.")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        from certs.schedules.queues import task_ended  # noqa: PLC0415 - tasks are made before the models are loaded

        if not self.request.is_eager:
            task_ended(str((self.request.delivery_info or {}).get("routing_key", "")))


def _of_schedule(request: Any) -> tuple[str, datetime | None]:
    period = getattr(request, "portal_period", None)
    name = getattr(request, "periodic_task_name", None)
    if not isinstance(period, str) or not isinstance(name, str):
        return "", None
    return name, datetime.fromisoformat(period)


def _begin(name: str, period: datetime, run_id: str, limit: timedelta) -> bool:
    from certs.schedules.claims import begin  # noqa: PLC0415 - tasks are made before the models are loaded

    return begin(name, period, run_id=run_id, limit=limit)


def _end(name: str, period: datetime, run_id: str, error: str) -> None:
    from certs.schedules.claims import end  # noqa: PLC0415 - as above

    try:
        end(name, period, run_id=run_id, error=error)
    except Error as exc:  # the work is done; that it is done will be recorded by its next period
        log.warning("the end of %s could not be recorded: %s", name, type(exc).__name__)
