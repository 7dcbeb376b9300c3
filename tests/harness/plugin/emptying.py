"""Empty a test database after a transactional test by deleting what the test wrote.

Django's `flush` truncates every table, whether a test wrote to it or not, and lets `post_migrate` write the content types,
permissions, roles and triggers anew: a tenth of a second, twenty-six hundred times a run. Most tests write to a dozen tables
and leave what `migrate` wrote alone. Where one did not, `flush` puts it right as before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase
from psycopg.errors import LockNotAvailable

from tests.harness.plugin.append_only import flush_lifts_triggers, triggers_out_of_force
from tests.harness.plugin.databases import end_other_sessions
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


def _contents(connection: BaseDatabaseWrapper, table: str) -> list[Any]:
    return sorted(_rows(connection, f"SELECT * FROM {connection.ops.quote_name(table)}"))


def _written(connection: BaseDatabaseWrapper, tables: list[str]) -> list[str]:
    """Return those that have rows."""
    each = ", ".join(f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
    (found,) = _rows(connection, f"SELECT {each}")
    return [table for table, there in zip(tables, found, strict=True) if there]


def _flushed(connection: BaseDatabaseWrapper) -> _Flushed:
    tables = sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))
    kept = _written(connection, tables)
    return _Flushed(
        rows={table: _contents(connection, table) for table in kept},
        empty=[table for table in tables if table not in kept],
        triggers=_rows(connection, _TRIGGERS[connection.vendor]),
    )


def _delete_what_was_written(connection: BaseDatabaseWrapper, flushed: _Flushed) -> bool:
    """Return False, and change nothing, where the test changed what `migrate` wrote."""
    with transaction.atomic(using=connection.alias):
        if connection.vendor == "postgresql":
            # As TRUNCATE does: wait for a thread of the test that is about to commit, or its rows would appear in the next test.
            # A session that never ends its transaction is ended by `_empty`, and the test that left it is named.
            _execute(connection, f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'")
            tables = ", ".join(connection.ops.quote_name(table) for table in (*flushed.rows, *flushed.empty))
            _execute(connection, f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
        if _rows(connection, _TRIGGERS[connection.vendor]) != flushed.triggers:
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


_known: dict[str, _Flushed] = {}


def _deleted(connection: BaseDatabaseWrapper, known: _Flushed) -> bool:
    try:
        return _delete_what_was_written(connection, known)
    except OperationalError as exc:
        if not isinstance(exc.__cause__, LockNotAvailable):
            raise
    ended = end_other_sessions()
    sys.stderr.write(f"sessions that a test left within a transaction were ended; last statements: {ended}\n")
    return _delete_what_was_written(connection, known)


def _empty(connection: BaseDatabaseWrapper, flush: Callable[[], None]) -> None:
    known = _known.get(connection.alias)
    if known is not None and _deleted(connection, known):
        ContentType.objects.clear_cache()
        return
    with flush_lifts_triggers(connection):
        flush()
    forget_what_was_remembered()
    _known[connection.alias] = _flushed(connection)


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
