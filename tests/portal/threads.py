"""Work beside the test, with a database connection of its own that is closed when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection, connections

# Others that wait for a lock of this session.
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def until_it_waits_for_a_lock() -> None:
    """Return when another session waits for a lock of this one; PostgreSQL only."""
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute(_WAITING)
            if cursor.fetchone()[0]:
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits for a lock")
