"""Beat that may be started twice: only the holder of a PostgreSQL advisory lock sends, the other waits to take over."""

from __future__ import annotations

from typing import Any

import psycopg
from celery.schedules import crontab
from django.conf import settings
from django.db import connection
from django_celery_beat.schedulers import DatabaseScheduler

from audit.vendor import on_postgresql
from certs.workflow.canvas import room_in
from pkiportal.worker_progress import show_progress

LOCK_KEY = 7203541  # any number that nothing else in the database uses
WAIT_SECONDS = 2.0


class LeaderScheduler(DatabaseScheduler):  # type: ignore[misc] # django-celery-beat has no types
    """The database's schedules, sent by one beat at a time.

    Needs a session connection of its own: the lock lives as long as that does (no transaction-mode pooler in between). On
    SQLite there is one process anyway, and no lock.
    """

    _lock_connection: psycopg.Connection[Any] | None = None
    _leads = False

    def tick(self, *args: Any, **kwargs: Any) -> float:
        if not settings.PKI_EMBEDDED:  # there the web process shows whether it lives
            show_progress()
        if on_postgresql() and not self._is_leader():
            return WAIT_SECONDS
        return float(super().tick(*args, **kwargs))

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """What comes every few seconds is left out while that queue's workers are away, or an hour of it would wait for them.

        What comes at a time of day is sent always: nobody would send it again before the next day.
        """
        if not isinstance(entry.schedule, crontab) and not self._has_room(entry):
            return
        super().apply_entry(entry, producer=producer)

    def _has_room(self, entry: Any) -> bool:
        queue = self.app.amqp.router.route(dict(entry.options), entry.task).get("queue")
        return bool(room_in(getattr(queue, "name", self.app.conf.task_default_queue)))

    def _is_leader(self) -> bool:
        try:
            lock = self._connected()
            if self._leads:
                lock.execute("SELECT 1")  # the lock is gone with its connection, so see that it is there
                return True
            row = lock.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone()
        except psycopg.Error:
            self._lock_connection, self._leads = None, False
            return False
        self._leads = bool(row and row[0])
        if self._leads:
            # The beat that led before has written newer last_run_at values: read them, or everything would be due at once.
            self._initial_read, self._heap = True, None
        return self._leads

    def _connected(self) -> psycopg.Connection[Any]:
        if self._lock_connection is None or self._lock_connection.closed:
            parameters = connection.get_connection_params()
            for name in ("context", "cursor_factory", "prepare_threshold", "server_side_binding"):
                parameters.pop(name, None)
            self._lock_connection, self._leads = psycopg.connect(**parameters, autocommit=True), False
        return self._lock_connection
