"""The session that a transactional test used is as new for the next one, in place of another one.

Django closes it, because a test may have changed it. But a new server process of PostgreSQL first reads what it
has to know of a hundred tables and their indexes, which costs it more than many a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import count
from typing import Any

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

_NUMBERS = count()
# By alias: the session that waits for the next test, and what it was opened with.
_spare: dict[str, tuple[psycopg.Connection[Any], dict[str, Any]]] = {}


def _as_new(session: psycopg.Connection[Any]) -> bool:
    """Undo all that belongs to a session but what its process knows of the catalogue. False for one that is of no use."""
    if session.closed or session.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
        return False
    try:
        with psycopg.Cursor(session) as cursor:
            if cursor.execute("SELECT FROM pg_cursors").rowcount:  # of a read that the test broke off: psycopg would go on to warn of it
                return False
            # psycopg forgets what it has prepared only after a statement that it has not counted before.
            cursor.execute(f"DISCARD ALL -- {next(_NUMBERS)}")
    except psycopg.Error:  # the test or the server ended it
        return False
    return True


def _opener(connection: BaseDatabaseWrapper) -> Callable[[dict[str, Any]], Any]:
    """Return what opens a session in place of `get_new_connection`."""
    original = type(connection).get_new_connection

    def opened(parameters: dict[str, Any]) -> Any:
        session, used = _spare.pop(connection.alias, (None, None))
        if session is not None:
            if used == parameters and _as_new(session):
                session.prepare_threshold = parameters.get("prepare_threshold")  # as Django gives it to psycopg
                return session
            session.close()
        return original(connection, parameters)

    return opened


def end_test(connection: BaseDatabaseWrapper) -> None:
    """Close a connection as Django does; its session may stay for the next test."""
    session = connection.connection
    if connection.vendor == "postgresql" and session is not None and not connection.in_atomic_block and _as_new(session):
        connection.connection = None
        connection.run_on_commit = []
        connection.get_new_connection = _opener(connection)  # type: ignore[method-assign, assignment]
        _spare[connection.alias] = session, connection.get_connection_params()
        return
    connection.close()


def close_spare_sessions() -> None:
    while _spare:
        with contextlib.suppress(psycopg.Error):
            _spare.popitem()[1][0].close()


def keep_sessions() -> None:
    """Replace what closes the connections at the end of a transactional test case."""

    def reload(self: Any) -> bool:
        for connection in connections.all(initialized_only=True):
            end_test(connection)
        return False

    TransactionTestCase._should_reload_connections = reload  # type: ignore[attr-defined]  # noqa: SLF001 - no public hook
