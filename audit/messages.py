"""One message to PostgreSQL: several statements, each planned once a connection, and with them the beginning and the end of their
transaction.

Of a small transaction, parsing and planning are half of what it costs the server, and what goes to and fro most of the rest.
SQL's own PREPARE and EXECUTE serve, because several EXECUTEs go in one message; parameters are bound in the client by psycopg, as
Django does. A pooler that gives each transaction another connection knows no prepared statements: DISABLE_SERVER_SIDE_CURSORS
turns them off as it does Django's own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import generators
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.types.datetime import TimestamptzLoader

# A table may be small when a statement is planned and large soon after: plans use indexes all the same, and none gets old. The
# first one serves a second, each that follows twice as long as the one before.
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
MOST_PLANS = 400
# A plan that had to read a whole table all the same counts as endlessly dear, at which the server would begin to compile it.
_PLANNING, _PLANNED = b"; SET enable_seqscan = off; SET jit = off; ", b"; RESET enable_seqscan; RESET jit"
_OF_OURS = frozenset({b"PREPARE", b"DEALLOCATE", b"SET", b"RESET", b"BEGIN", b"COMMIT"})  # results that nobody asked for
_numbers = itertools.count()


class _Plan(NamedTuple):
    name: bytes
    seconds: float
    until: float  # monotonic


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


def exchange(queries: Sequence[tuple[str, Sequence[Any]]], *, commit: bool = False) -> list[list[Any]]:
    """The rows that each statement answers, in order; none for one that answers nothing. Raises Django's database errors.

    `commit`: they are the last ones of the open transaction, which must be the outermost: nothing may follow in its block.
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
        parts = [_statement(plans, sql, parameters) for sql, parameters in queries]
        if not conn.autocommit and conn.pgconn.transaction_status == TransactionStatus.IDLE:
            parts.insert(0, _begin(conn))
        if commit:
            parts.append(b"COMMIT")
        return _answers(plans.transformer, _sent(database, conn, b"; ".join(parts)))
    except BaseException:  # also a parameter that cannot be written, or a time limit: then nothing of the message was sent
        _plans.pop(database, None)  # which of these plans were made is not known; their names are never used again
        raise


def _begin(conn: Any) -> bytes:
    level = conn.isolation_level
    return b"BEGIN" if level is None else f"BEGIN ISOLATION LEVEL {level.name.replace('_', ' ')}".encode()


def _sent(database: Any, conn: Any, message: bytes) -> list[Any]:
    began = time.monotonic()
    with database.wrap_database_errors:
        results: list[Any] = conn.wait(_round_trip(conn.pgconn, message))
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result, conn.info.encoding)
    if database.queries_logged:
        database.queries_log.append({"sql": message.decode(), "time": f"{time.monotonic() - began:.3f}"})
    return results


def _round_trip(pgconn: Any, message: bytes) -> Any:
    pgconn.send_query(message)
    return (yield from generators.execute(pgconn))


def _answers(transformer: Any, results: Sequence[Any]) -> list[list[Any]]:
    answers: list[list[Any]] = []
    for result in results:
        if result.command_status in _OF_OURS:
            continue
        if result.nfields == 0:
            answers.append([])
            continue
        transformer.set_pgresult(result)
        answers.append(transformer.load_rows(0, result.ntuples, tuple))
    return answers


def _statement(plans: _Plans, sql: str, parameters: Sequence[Any]) -> bytes:
    as_literal = plans.transformer.as_literal
    literals = [as_literal(value) for value in parameters]
    given = b"(" + b", ".join(literals) + b")" if literals else b""
    known = plans.names.get(sql)
    if known is not None and known.until > time.monotonic():
        return b"EXECUTE " + known.name + given
    if known is None and not _worth_a_plan(plans, sql):
        return (sql % tuple([literal.decode() for literal in literals])).encode()
    number, seconds = next(_numbers), min(2 * known.seconds, MOST_SECONDS) if known else FIRST_SECONDS
    name = b"p%d" % number
    plans.names[sql] = _Plan(name, seconds, time.monotonic() + seconds)
    numbered = (sql % tuple([f"${n}" for n in range(1, len(literals) + 1)])).encode()
    dropped = b"DEALLOCATE " + known.name + b"; " if known is not None else b""
    return dropped + b"PREPARE " + name + b" AS " + numbered + _PLANNING + b"EXECUTE " + name + given + _PLANNED


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
