"""One database connection of a process, lent to whoever has the turn.

A PostgreSQL session has to learn tables, plans and functions, and finds them again in the processor's caches only when it is used
all the time. What is done in turns anyway, by any thread of a pool, is a quarter cheaper for the server on one connection than
spread over the threads' own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from db.backend import on_postgresql

TRUSTED_SECONDS = 5.0  # so long after its last use a connection is not asked whether it still answers


class _Lent:
    """The connection, and when it was last given back (monotonic seconds)."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.wrapper: Any = None
        self.back_at = 0.0

    def ready(self) -> Any:
        """Closed if it failed or grew too old, as Django does between two requests; then Django opens it anew."""
        if self.wrapper is None:
            self.wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
            self.wrapper.inc_thread_sharing()
        self.wrapper.close_if_unusable_or_obsolete()
        if time.monotonic() - self.back_at < TRUSTED_SECONDS:
            self.wrapper.health_check_done = True
        return self.wrapper


_lent = _Lent()


@contextmanager
def lent_connection() -> Iterator[None]:
    """Within it this thread's default connection is the process's own. Waits for its turn.

    Does nothing within an open transaction, which goes on where it began, and on SQLite, where connections are equally cheap.
    """
    own: Any = connections[DEFAULT_DB_ALIAS]
    if own is _lent.wrapper or own.in_atomic_block or not on_postgresql():
        yield
        return
    with _lent.turn:
        connections[DEFAULT_DB_ALIAS] = lent = _lent.ready()
        try:
            yield
        finally:
            connections[DEFAULT_DB_ALIAS] = own
            lent.close_if_unusable_or_obsolete()
            _lent.back_at = time.monotonic()
