"""Statements sent by psycopg's own cursors: bound and, once used often, prepared on the server; several in one round trip.

Django's cursors bind parameters in the client and cannot prepare (psycopg.ClientCursor). A
pooler that gives each transaction another connection knows no prepared statements:
DISABLE_SERVER_SIDE_CURSORS turns them off here as it does Django's own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import psycopg
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from psycopg.pq import PipelineStatus, TransactionStatus

from db.backend import on_postgresql

Statement: TypeAlias = tuple[str, Sequence[Any]]  # SQL and its parameters
Row: TypeAlias = tuple[Any, ...]

PREPARE_AFTER = 3  # executions; a statement that is used once is not worth a plan
MOST_PREPARED = 400
MOST_KEPT_ROWS = 50  # a cursor holds its last result for as long as it is kept


def prepare_statements(connection: Any, **_: Any) -> None:
    """Let psycopg prepare statements of a new connection. A receiver of `connection_created`."""
    if _may_prepare(connection):
        connection.connection.prepare_threshold = PREPARE_AFTER
        connection.connection.prepared_max = MOST_PREPARED


def _may_prepare(connection: Any) -> bool:
    return connection.vendor == "postgresql" and not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")


def keep_plans() -> None:
    """Let the server plan each prepared statement of this connection once from now on, not for every value anew.

    For a connection that serves one path, whose statements find their rows by keys whatever the values
    are; without this the server plans a statement with a list of keys anew each time. Call it again
    every few seconds: the plan for a table of ten rows is wrong for one of a million.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if _may_prepare(connection):
        with connection.cursor() as cursor:
            cursor.execute("SET plan_cache_mode = force_generic_plan; DISCARD PLANS")


def run(statements: Sequence[Statement]) -> list[tuple[list[Row], int]]:
    """Run statements in order; on PostgreSQL in one round trip.

    Returns for each the rows that it returned and the number of rows that it read or wrote.
    Raises Django's database errors. They run in the open transaction, or each commits on its own.
    """
    if not statements:
        return []
    if on_postgresql():
        return _run_on_postgresql(statements)
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        return [_result(cursor.execute(sql, parameters)) for sql, parameters in statements]


def run_first(statement: Statement) -> list[Row]:
    """Return the rows of a read that comes first in a call, outside of a transaction.

    The read itself shows whether a connection that was kept since an earlier call still works, so
    Django's own check (SELECT 1, a round trip in every call) is left out. Where the connection is
    lost, the read is repeated once on a new one. Raises Django's database errors.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    if database.connection is None or database.health_check_done or database.in_atomic_block:
        return run([statement])[0][0]
    database.health_check_done = True
    try:
        return run([statement])[0][0]
    except (DatabaseError, InterfaceError):
        if database.connection is not None:  # the connection works: the fault is another one
            raise
        return run([statement])[0][0]


class _Kept(threading.local):
    """Cursors of this thread's connection, by statement, which wait for their statement to come again.

    A cursor that executes the same statement again knows already how its parameters are written and
    its columns read: that takes psycopg a quarter of its time for a statement of one row.
    """

    def __init__(self) -> None:
        self.connection: Any = None
        self.cursors: dict[bytes, Any] = {}

    def of(self, connection: Any) -> dict[bytes, Any]:
        if self.connection is not connection:
            self.connection, self.cursors = connection, {}
        return self.cursors


_kept = _Kept()


def _result(cursor: Any) -> tuple[list[Row], int]:
    return (list(cursor.fetchall()) if cursor.description else [], cursor.rowcount)


def _result_on_postgresql(connection: Any, sql: str, cursor: Any) -> tuple[list[Row], int]:
    """Return what `_result` does; `description` would make an object for each column, which takes longer than the rows."""
    rows = cursor.fetchall() if cursor.pgresult.nfields else []
    kept = _kept.of(connection)
    if len(rows) <= MOST_KEPT_ROWS and len(kept) < MOST_PREPARED:
        kept[_numbered(sql)] = cursor
    return rows, cursor.rowcount


def _run_on_postgresql(statements: Sequence[Statement]) -> list[tuple[list[Row], int]]:
    database = connections[DEFAULT_DB_ALIAS]
    database.close_if_health_check_failed()
    database.ensure_connection()
    database.validate_no_broken_transaction()  # afterwards: a new connection has none, whatever became of the last
    began = time.monotonic()
    connection = database.connection
    try:
        with database.wrap_database_errors:
            # The first statement of a transaction shares its round trip with the BEGIN that psycopg sends before it.
            begins = not connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE
            if len(statements) == 1 and not begins:
                return [_result_on_postgresql(connection, statements[0][0], _executed(connection, statements[0]))]
            return _pipelined(connection, statements)
    except BaseException:
        # An exception out of nowhere, such as a task's time limit, leaves results to come for which
        # nobody waits any more: nothing else can be sent over this connection.
        if connection.info.transaction_status is TransactionStatus.ACTIVE or connection.info.pipeline_status is not PipelineStatus.OFF:
            connection.close()
        raise
    finally:
        if connection.closed:
            database.close()  # Django opens it anew, or ends the transaction that is lost
        if database.queries_logged:
            sql = "; ".join(text for text, _ in statements)  # without parameters
            database.queries_log.append({"sql": sql, "time": f"{time.monotonic() - began:.3f}"})


def _executed(connection: Any, statement: Statement) -> Any:
    try:
        return _sent(connection, *statement)
    except psycopg.errors.FeatureNotSupported:
        # "cached plan must not change result type": a migration has changed a column since the
        # statement was prepared. In a transaction, its rollback discards the plans.
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            raise
        psycopg.Cursor(connection).execute("DEALLOCATE ALL")
        return _sent(connection, *statement)


def _sent(connection: Any, sql: str, parameters: Sequence[Any]) -> Any:
    statement = _numbered(sql)
    cursor = _kept.of(connection).pop(statement, None) or psycopg.RawCursor(connection)
    return cursor.execute(statement, parameters)


@lru_cache(maxsize=2048)
def _numbered(sql: str) -> bytes:
    """Return SQL with $1, $2 ... for its %s, as the server takes it. psycopg would look for them in every call of a long statement."""
    first, *others = sql.replace("%%", "%").split("%s")
    return (first + "".join(f"${n}{part}" for n, part in enumerate(others, start=1))).encode()


def _pipelined(connection: Any, statements: Sequence[Statement]) -> list[tuple[list[Row], int]]:
    failed: psycopg.Error | None = None
    cursors: list[Any] = []
    try:
        with connection.pipeline() as pipeline:
            try:
                cursors = [_sent(connection, sql, parameters) for sql, parameters in statements]
            except psycopg.Error as exc:  # of a statement before the one that was being sent
                failed = exc
                with contextlib.suppress(psycopg.Error):  # the server skips the others
                    pipeline.sync()
    except psycopg.OperationalError as exc:
        if exc.__context__ is not None and not isinstance(exc.__context__, psycopg.Error):
            raise exc.__context__ from None  # an exception out of nowhere, after which the pipeline could not be left
        raise
    if failed is not None:
        raise failed
    return [_result_on_postgresql(connection, sql, cursor) for (sql, _), cursor in zip(statements, cursors, strict=True)]


class Lookups:
    """Reads of one row each, by statements that are prepared on a connection of each thread's own.

    Five times the rate of the ORM, and no transaction is ever open on that connection. On SQLite,
    and within an open transaction, Django's connection serves.
    """

    def __init__(self, statements: Mapping[str, str]) -> None:
        self._statements = statements
        self.own = _Own()
        # A child must not use its parent's connection, nor end it.
        os.register_at_fork(after_in_child=lambda: setattr(self.own, "connection", None))

    def first(self, name: str, *parameters: int | str) -> tuple[str, ...] | None:
        """Return the first row of a statement as texts, "" for NULL; None for no row.

        Raises psycopg.Error or django.db.Error when the database does not answer. A connection that
        broke while it was idle is replaced once.
        """
        if not on_postgresql() or connections[DEFAULT_DB_ALIAS].in_atomic_block:
            with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
                cursor.execute(self._statements[name], parameters)
                row = cursor.fetchone()
            return None if row is None else tuple("" if value is None else str(value) for value in row)
        known = self.own.connection
        try:
            return _looked_up(known or self._connected(), name, parameters)
        except psycopg.Error:
            self.close()
            if known is None:
                raise
        return _looked_up(self._connected(), name, parameters)

    def close(self) -> None:
        """Close this thread's connection; the next look-up opens another."""
        if self.own.connection is not None:
            self.own.connection.close()
        self.own.connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        given: Mapping[str, Any] = connections[DEFAULT_DB_ALIAS].get_connection_params()
        of_django = ("context", "cursor_factory", "prepare_threshold", "server_side_binding")
        connection = psycopg.connect(**{name: value for name, value in given.items() if name not in of_django}, autocommit=True)
        for name, sql in self._statements.items():
            result = connection.pgconn.prepare(name.encode(), _numbered(sql))
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
        self.own.connection = connection
        return connection


class _Own(threading.local):
    connection: psycopg.Connection[Any] | None = None


def _looked_up(connection: psycopg.Connection[Any], name: str, parameters: Sequence[int | str]) -> tuple[str, ...] | None:
    """Look up in one round trip through libpq's public functions: a cursor would take longer than the server."""
    result = connection.pgconn.exec_prepared(name.encode(), [str(one).encode() for one in parameters])
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace"))
    if not result.ntuples:
        return None
    return tuple((result.get_value(0, column) or b"").decode() for column in range(result.nfields))
