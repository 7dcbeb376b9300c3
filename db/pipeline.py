"""One message to PostgreSQL: several statements, each planned once a connection, and with them the beginning and the end of their
transaction.

Of a small transaction, parsing and planning are half of what it costs the server, and what goes to and fro most of the rest.
libpq's pipeline serves: prepared statements and their parameters go out together and all answers come back together, and the
server reads no SQL at all. (SQL's own EXECUTE in one simple query costs it half as much again.) A pooler that gives each
transaction another connection knows no prepared statements: DISABLE_SERVER_SIDE_CURSORS turns them off as it does Django's own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from psycopg import OperationalError
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.types.datetime import TimestamptzLoader
from psycopg.waiting import Ready, Wait

# A table may be small when a statement is planned and large soon after: plans use indexes all the same, and none gets old. The
# first one serves a second, each that follows twice as long as the one before.
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
MOST_PLANS = 400
_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)
# A plan that had to read a whole table all the same counts as endlessly dear, at which the server would begin to compile it.
_PLANNING, _PLANNED = (b"SET enable_seqscan = off", b"SET jit = off"), (b"RESET enable_seqscan", b"RESET jit")
_numbers = itertools.count()


class _Plan(NamedTuple):
    name: bytes
    formats: Sequence[PyFormat]  # of the parameters
    seconds: float
    until: float  # monotonic


class _Part(NamedTuple):
    """Of a message: a statement, or one that is made ready under `name`, or one that is ready. `asked`: its rows are an answer."""

    sql: bytes = b""
    name: bytes = b""
    parameters: Sequence[Any] | None = None
    formats: Sequence[Any] | None = None
    asked: bool = False


class _Context:
    """As the connection itself, but times are read by psycopg's own loader: Django's is for time zones other than UTC, and slower."""

    def __init__(self, conn: Any) -> None:
        self.connection, self.adapters = conn, AdaptersMap(conn.adapters)
        self.adapters.register_loader("timestamptz", TimestamptzLoader)


@dataclass(slots=True)
class _Plans:
    """What one connection has prepared, and what it met once. `transformer` writes parameters and reads answers."""

    conn: Any
    transformer: Any
    settings: Mapping[str, Any]
    names: dict[str, _Plan] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


_plans: WeakKeyDictionary[Any, _Plans] = WeakKeyDictionary()  # by Django's connection, of which each thread has its own


def keep_plans(connection: Any, **_: Any) -> None:
    """A receiver of `connection_created`: one plan for a prepared statement, whatever its parameters."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET plan_cache_mode = force_generic_plan")


def exchange(
    queries: Sequence[tuple[str, Sequence[Any]]], *, commit: bool = False, afterwards: Sequence[tuple[str, Sequence[Any]]] = ()
) -> list[list[Any]]:
    """The rows that each statement answers, in order; none for one that answers nothing. Raises Django's database errors.

    `commit`: they are the last ones of the open transaction, which must be the outermost: nothing may follow in its block.
    `afterwards` are asked when that is done; if one fails, all of them are left out of the answer, for what was done is done.
    """
    database = connections[DEFAULT_DB_ALIAS]
    database.validate_no_broken_transaction()
    database.close_if_health_check_failed()
    database.ensure_connection()
    conn = database.connection
    plans = _plans.get(database)
    if plans is None or plans.conn is not conn:
        plans = _plans[database] = _Plans(conn, Transformer(_Context(conn)), database.settings_dict)
    try:
        parts = [part for sql, parameters in queries for part in _parts(plans, sql, parameters)]
        if not conn.autocommit and conn.pgconn.transaction_status == TransactionStatus.IDLE:
            parts.insert(0, _begin(conn))
        if commit:
            parts.append(_Part(b"COMMIT"))
        sure = len(parts)
        parts += [part for sql, parameters in afterwards for part in _parts(plans, sql, parameters)]
        results = _sent(database, conn, parts, sure=sure)
        if any(result.status in _FAILED for result in results[sure:]):
            _plans.pop(database, None)
            parts, results = parts[:sure], results[:sure]
        return [_rows(plans.transformer, result) for part, result in zip(parts, results, strict=True) if part.asked]
    except BaseException:  # also a parameter that cannot be written (then nothing was sent), or a time limit (then perhaps all of it)
        _plans.pop(database, None)  # which of these plans were made is not known; their names are never used again
        if conn.closed:
            database.close()  # Django opens it anew, or ends the transaction that is lost
        raise


def exchange_first(queries: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
    """`exchange` for reads that come first in a call, outside of a transaction.

    They show themselves whether a connection that was kept since an earlier call still works, so
    Django's own check (a SELECT 1, a round trip in every call) is left out. Where the connection is
    lost they are asked once more on a new one. Raises Django's database errors.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    if database.connection is None or database.health_check_done or database.in_atomic_block:
        return exchange(queries)
    database.health_check_done = True
    try:
        return exchange(queries)
    except (DatabaseError, InterfaceError):
        if database.connection is not None:  # the connection works: the fault is another one
            raise
        return exchange(queries)


def _begin(conn: Any) -> _Part:
    level = conn.isolation_level
    return _Part(b"BEGIN" if level is None else f"BEGIN ISOLATION LEVEL {level.name.replace('_', ' ')}".encode())


def _sent(database: Any, conn: Any, parts: Sequence[_Part], *, sure: int) -> list[Any]:
    """One result for each part. Raises what went wrong with the first of them, those that must not fail."""
    began = time.monotonic()
    with database.wrap_database_errors:
        with closing(_round_trip(conn.pgconn, parts)) as talk:
            results: list[Any] = conn.wait(talk)
        for result in results[:sure]:
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result, conn.info.encoding)
    if database.queries_logged:
        said = "; ".join(map(_said, parts))  # without parameters
        database.queries_log.append({"sql": said, "time": f"{time.monotonic() - began:.3f}"})
    return results


def _said(part: _Part) -> str:
    if not part.name:
        return part.sql.decode()
    return f"PREPARE {part.name.decode()} AS {part.sql.decode()}" if part.sql else f"EXECUTE {part.name.decode()}"


def _round_trip(pgconn: Any, parts: Sequence[_Part]) -> Any:
    pgconn.enter_pipeline_mode()
    try:
        for part in parts:
            _put(pgconn, part)
        pgconn.pipeline_sync()
        while pgconn.flush():
            if (yield Wait.RW) & Ready.R:  # the server may have to get rid of answers before it reads on
                pgconn.consume_input()
        return (yield from _results(pgconn))
    finally:
        _leave_pipeline(pgconn)


def _put(pgconn: Any, part: _Part) -> None:
    """Into libpq's buffer."""
    if part.sql and part.name:
        pgconn.send_prepare(part.name, part.sql)
    elif part.sql:
        pgconn.send_query_params(part.sql, part.parameters, param_formats=part.formats)
    else:
        pgconn.send_query_prepared(part.name, part.parameters, param_formats=part.formats)


def _results(pgconn: Any) -> Any:
    results: list[Any] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:  # the end of one statement's results
            if pgconn.status != ConnStatus.OK:
                raise OperationalError(pgconn.get_error_message())
            continue
        if result.status == ExecStatus.PIPELINE_SYNC:
            return results
        results.append(result)


def _leave_pipeline(pgconn: Any) -> None:
    if pgconn.status != ConnStatus.OK:
        return
    try:
        pgconn.exit_pipeline_mode()
    except OperationalError:  # answers are still to come that nobody waits for any more: nothing else can be said over it
        pgconn.finish()


def _rows(transformer: Any, result: Any) -> list[Any]:
    if result.nfields == 0:
        return []
    transformer.set_pgresult(result)
    rows: list[Any] = transformer.load_rows(0, result.ntuples, tuple)
    return rows


def _parts(plans: _Plans, sql: str, parameters: Sequence[Any]) -> list[_Part]:
    """The statement itself is the one that is asked."""
    known = plans.names.get(sql)
    transformer = plans.transformer
    if known is not None and known.until > time.monotonic():
        dumped = transformer.dump_sequence(parameters, known.formats) if parameters else None
        return [_Part(name=known.name, parameters=dumped, formats=transformer.formats if dumped else None, asked=True)]
    given = [PyFormat.BINARY if isinstance(value, bytes | memoryview) else PyFormat.TEXT for value in parameters]
    dumped = transformer.dump_sequence(parameters, given) if parameters else None
    formats = transformer.formats if dumped else None
    numbered = (sql % tuple([f"${n}" for n in range(1, len(given) + 1)])).encode()
    if known is None and not _worth_a_plan(plans, sql):
        return [_Part(numbered, parameters=dumped, formats=formats, asked=True)]
    number, seconds = next(_numbers), min(2 * known.seconds, MOST_SECONDS) if known else FIRST_SECONDS
    name = b"p%d" % number
    plans.names[sql] = _Plan(name, given, seconds, time.monotonic() + seconds)
    return [
        *([_Part(b"DEALLOCATE " + known.name)] if known is not None else []),
        _Part(numbered, name),
        *map(_Part, _PLANNING),
        _Part(name=name, parameters=dumped, formats=formats, asked=True),
        *map(_Part, _PLANNED),
    ]


def _worth_a_plan(plans: _Plans, sql: str) -> bool:
    """From the second time on, as long as there is room."""
    if plans.settings.get("DISABLE_SERVER_SIDE_CURSORS") or len(plans.names) >= MOST_PLANS:
        return False
    if sql in plans.seen:
        plans.seen.discard(sql)
        return True
    if len(plans.seen) < 10 * MOST_PLANS:
        plans.seen.add(sql)
    return False
