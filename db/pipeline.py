"""Statements sent by psycopg's own cursors: bound and, once used often, prepared on the server; several in one round trip.

Django's cursors bind parameters in the client and cannot prepare (psycopg.ClientCursor). A
pooler that gives each transaction another connection knows no prepared statements:
DISABLE_SERVER_SIDE_CURSORS turns them off here as it does Django's own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
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


def prepare_statements(connection: Any, **_: Any) -> None:
    """Let psycopg prepare statements of a new connection. A receiver of `connection_created`."""
    if connection.vendor == "postgresql" and not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        connection.connection.prepare_threshold = PREPARE_AFTER
        connection.connection.prepared_max = MOST_PREPARED


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


def _result(cursor: Any) -> tuple[list[Row], int]:
    return (list(cursor.fetchall()) if cursor.description else [], cursor.rowcount)


def _result_on_postgresql(cursor: Any) -> tuple[list[Row], int]:
    """The same; `description` would make an object for each column, which takes longer than the rows."""
    return (cursor.fetchall() if cursor.pgresult.nfields else [], cursor.rowcount)


def _run_on_postgresql(statements: Sequence[Statement]) -> list[tuple[list[Row], int]]:
    database = connections[DEFAULT_DB_ALIAS]
    database.validate_no_broken_transaction()
    database.close_if_health_check_failed()
    database.ensure_connection()
    began = time.monotonic()
    connection = database.connection
    try:
        with database.wrap_database_errors:
            # The first statement of a transaction shares its round trip with the BEGIN that psycopg sends before it.
            begins = not connection.autocommit and connection.info.transaction_status is TransactionStatus.IDLE
            if len(statements) == 1 and not begins:
                return [_result_on_postgresql(_executed(connection, statements[0]))]
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
    return psycopg.RawCursor(connection).execute(_numbered(sql), parameters)


@lru_cache(maxsize=2048)
def _numbered(sql: str) -> bytes:
    """SQL with $1, $2 ... for its %s, as the server takes it. psycopg would look for them in every call of a long statement."""
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
    return [_result_on_postgresql(cursor) for cursor in cursors]
