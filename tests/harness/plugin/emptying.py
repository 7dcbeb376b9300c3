"""Empty a test database after a transactional test by deleting what the test wrote.

Django's `flush` truncates every table, whether a test wrote to it or not, and lets `post_migrate` write the content types,
permissions, roles and triggers anew: a tenth of a second, twenty-six hundred times a run. Most tests write to a dozen tables
and leave what `migrate` wrote alone. Where one did not, `flush` puts it right as before.

To plan the question which tables have rows costs PostgreSQL more than many a test: 20 ms of CPU time
in a new session. So it is asked in a session that lasts as long as the run, while each test begins
with a new one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase
from psycopg.errors import LockNotAvailable

from tests.harness.plugin.append_only import flush_lifts_triggers, triggers_out_of_force
from tests.harness.plugin.databases import end_busy_sessions
from tests.harness.plugin.remembered import forget_what_was_remembered

PATIENCE_SECONDS = 30

_TRIGGERS = {
    "postgresql": "SELECT tgrelid, tgname, tgenabled, tgfoid FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
    "sqlite": "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1, 2",
}


@dataclass(frozen=True)
class _Flushed:
    """What a database holds after `flush`."""

    rows: dict[str, list[Any]]  # by table: what `migrate` writes
    empty: list[str]  # all other tables
    triggers: list[Any]


def _rows(connection: BaseDatabaseWrapper, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


# By session: the names of the statements that it has prepared.
_prepared: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()


def _planned_once(connection: BaseDatabaseWrapper, statement: str) -> list[Any]:
    """As `_rows`; PostgreSQL keeps the plan for as long as the session.

    psycopg is not asked to prepare: it forgets all that it has prepared at each ALTER, and at the end of each test the
    append-only triggers are altered.
    """
    if connection.vendor != "postgresql":
        return _rows(connection, statement)
    connection.ensure_connection()
    prepared = _prepared.setdefault(connection.connection, {})
    with psycopg.Cursor(connection.connection) as cursor:
        if statement not in prepared:
            prepared[statement] = f"planned_{len(prepared)}"
            cursor.execute(f"PREPARE {prepared[statement]} AS {statement}", prepare=False)
        return cursor.execute(f"EXECUTE {prepared[statement]}", prepare=False).fetchall()


def _contents(connection: BaseDatabaseWrapper, table: str) -> list[Any]:
    return sorted(_rows(connection, f"SELECT * FROM {connection.ops.quote_name(table)}"))


def _written(connection: BaseDatabaseWrapper, tables: list[str]) -> list[str]:
    """Return those that have rows.

    The audit log's are asked by themselves: where a table's triggers are altered, the plan of every statement about it is lost.
    """
    written = []
    for group in ([table for table in tables if table.startswith("audit_") == audits] for audits in (False, True)):
        each = ", ".join(f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in group)
        (found,) = _planned_once(connection, f"SELECT {each}")
        written += [table for table, there in zip(group, found, strict=True) if there]
    return written


def _flushed(connection: BaseDatabaseWrapper) -> _Flushed:
    tables = sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))
    kept = _written(connection, tables)
    return _Flushed(
        rows={table: _contents(connection, table) for table in kept},
        empty=[table for table in tables if table not in kept],
        triggers=_planned_once(connection, _TRIGGERS[connection.vendor]),
    )


def _delete_what_was_written(connection: BaseDatabaseWrapper, flushed: _Flushed) -> bool:
    """Return False, and change nothing, where the test changed what `migrate` wrote."""
    with _transaction(connection):
        if connection.vendor == "postgresql":
            # As TRUNCATE does: wait for a thread of the test that is about to commit, or its rows would appear in the next test.
            # A session that never ends its transaction is ended by `_empty`, and the test that left it is named.
            _execute(connection, f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'")
            tables = ", ".join(connection.ops.quote_name(table) for table in (*flushed.rows, *flushed.empty))
            _execute(connection, f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
        if _planned_once(connection, _TRIGGERS[connection.vendor]) != flushed.triggers:
            return False
        if any(_contents(connection, table) != rows for table, rows in flushed.rows.items()):
            return False
        written = _written(connection, flushed.empty)
        if not written:
            return True
        if connection.vendor == "postgresql":
            # Neither foreign keys nor triggers of other kinds are asked, so that the order of the tables does not matter.
            _execute(connection, "SET LOCAL session_replication_role = replica")
        with triggers_out_of_force(connection):
            for table in written:
                _execute(connection, f"DELETE FROM {connection.ops.quote_name(table)}")
    return True


def _execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextlib.contextmanager
def _transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """As `transaction.atomic`, which finds connections by their alias alone."""
    connection.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    else:
        connection.commit()
    finally:
        connection.set_autocommit(True)


_known: dict[str, _Flushed] = {}
_kept: dict[str, BaseDatabaseWrapper] = {}


def _session_of_its_own(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """Return the session that empties. SQLite needs none."""
    if connection.vendor != "postgresql":
        return connection
    if connection.alias not in _kept:
        _kept[connection.alias] = connection.copy()
    kept = _kept[connection.alias]
    if kept.connection is not None and not kept.is_usable():  # a test ended it, with others or with the server
        kept.close()
    return kept


def close_sessions() -> None:
    """Close the sessions that emptied: PostgreSQL drops no database in which one is left."""
    while _kept:
        _kept.popitem()[1].close()


def _deleted(connection: BaseDatabaseWrapper, known: _Flushed) -> bool:
    try:
        return _delete_what_was_written(connection, known)
    except OperationalError as exc:
        if not isinstance(exc.__cause__, LockNotAvailable):
            raise
    ended = end_busy_sessions(connection)
    sys.stderr.write(f"sessions that a test left within a transaction were ended; last statements: {ended}\n")
    return _delete_what_was_written(connection, known)


def _empty(connection: BaseDatabaseWrapper, flush: Callable[[], None]) -> None:
    known = _known.get(connection.alias)
    if known is not None and _deleted(_session_of_its_own(connection), known):
        ContentType.objects.clear_cache()
        return
    with flush_lifts_triggers(connection):
        flush()
    forget_what_was_remembered()
    _known[connection.alias] = _flushed(_session_of_its_own(connection))


def empty_quickly() -> None:
    """Replace the end of every transactional test case, Django's and pytest-django's alike (the latter is made from the former).

    The command `flush` inside a test is refused like anywhere else.
    """
    # Django offers no public hook here.
    original = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]  # noqa: SLF001

    def teardown(self: Any) -> None:
        (alias,) = self._databases_names(include_mirrors=False)  # the portal has one database
        _empty(connections[alias], lambda: original(self))

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[attr-defined]  # noqa: SLF001
