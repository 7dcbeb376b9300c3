"""Beat that may be started twice: the one that holds the lease works off the due table, the other waits to take over."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from celery.beat import Scheduler
from django.conf import settings
from django.db import Error, close_old_connections, connection

from certs.schedules.due import send_due
from certs.schedules.leader import lead, resign
from db.clock import database_now
from pkiportal.processes.worker_progress import show_progress

log = logging.getLogger(__name__)

PASS_SECONDS = 1.0
WAIT_SECONDS = 2.0


class LeaderScheduler(Scheduler):  # type: ignore[misc] # celery has no types
    """Celery's beat on the portal's due table (`certs.schedules`). It keeps nothing of its own.

    Schedules are rows of django-celery-beat, read anew at each pass, so an edit in the admin holds
    within a second.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.holder = uuid4().hex
        self._database_answers = True
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Set up nothing: the schedules are in the database, and Celery's default entry is for a result backend."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due if this beat leads. Returns the seconds until the next pass."""
        if not settings.PKI_EMBEDDED:  # there the web process shows whether it lives
            show_progress()
        close_old_connections()
        try:
            if not lead(self.holder):
                return WAIT_SECONDS
            send_due(database_now())
        except Error as exc:
            if self._database_answers:  # one line for an outage
                log.warning("beat waits for the database: %s", type(exc).__name__)
            self._database_answers = False
            connection.close()
            return WAIT_SECONDS
        self._database_answers = True
        return PASS_SECONDS

    def close(self) -> None:
        """Give the lease back, so that another beat takes over at once."""
        try:
            resign(self.holder)
        except Error as exc:
            log.warning("the lease of this beat was not ended, it runs out: %s", type(exc).__name__)
        super().close()
