"""SQL that both databases understand, with one parameter for a list of values whatever its length."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Func, IntegerField, Lookup

from db.backend import on_postgresql
from db.pipeline import Row, Statement, run, run_first

_BETWEEN_TRIES = 0.5  # seconds


def fetch(sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """Return the rows of one statement. Raises Django's database errors."""
    return run([(sql, parameters)])[0][0]


def fetch_first(sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """Return the rows of a read that comes first in a call, outside of a transaction (`db.pipeline.run_first`)."""
    return run_first((sql, parameters))


def as_one(statements: Sequence[Statement]) -> Statement:
    """Return several INSERTs as one statement: each that is sent takes longer than the rows that it writes."""
    *others, (last, _) = statements
    parts = ", ".join(f"w{n} AS ({sql})" for n, (sql, _) in enumerate(others))
    return f"WITH {parts} {last}" if others else last, [value for _, parameters in statements for value in parameters]


def counted(updates: Sequence[Statement]) -> Statement:
    """Return several UPDATEs of different rows as one statement that returns how many rows each has written."""
    parts = ", ".join(f"w{n} AS ({sql} RETURNING 1)" for n, (sql, _) in enumerate(updates))
    counts = ", ".join(f"(SELECT count(*) FROM w{n})" for n in range(len(updates)))  # noqa: S608 - numbers
    return f"WITH {parts} SELECT {counts}", [value for _, parameters in updates for value in parameters]


def advisory_lock(*numbers: int) -> None:
    """Wait until no other transaction holds this lock (one number or two), and hold it until the open one ends.

    On SQLite one transaction writes at a time anyway.
    """
    if on_postgresql():
        fetch(f"SELECT pg_advisory_xact_lock({', '.join(['%s'] * len(numbers))})", numbers)


def try_advisory_lock(number: int) -> bool:
    """Take an advisory lock until the open transaction ends; return False if another transaction holds it."""
    return not on_postgresql() or bool(fetch("SELECT pg_try_advisory_xact_lock(%s)", [number])[0][0])


@contextmanager
def one_process_at_a_time(number: int, waiting: Callable[[], None]) -> Iterator[None]:
    """Run the block while no other process is in one of the same number, on this database. Calls `waiting` twice a second until then.

    The lock ends with the block, or with the process, however that ends.
    """
    if not on_postgresql():
        lock_file = os.open(f"{connection.settings_dict['NAME']}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            while not _flocked(lock_file):
                waiting()
                time.sleep(_BETWEEN_TRIES)
            yield
        finally:
            os.close(lock_file)
        return
    # A transaction of its own connection: behind a pooler a lock of the session would stay with another one. Tried again and again
    # from the outside of a statement: CREATE INDEX CONCURRENTLY in the block waits for every statement that runs, as this one for it.
    holder = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        holder.set_autocommit(False)
        while not _holds(holder, number):
            holder.rollback()
            waiting()
            time.sleep(_BETWEEN_TRIES)
        yield
    finally:
        holder.close()


def _flocked(lock_file: int) -> bool:
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holds(holder: BaseDatabaseWrapper, number: int) -> bool:
    with holder.cursor() as cursor:
        # The lock is held as long as the block takes. For this transaction alone: a pooler gives the session to others.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def repeatable_read() -> None:
    """Let the transaction that has just begun only read, everything as of one moment. On SQLite nobody writes in the meantime."""
    if on_postgresql():
        fetch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


@contextmanager
def one_moment() -> Iterator[None]:
    """Read everything within as of one moment (SQLite: nobody writes in the meantime).

    Within an open transaction it is as of whatever that transaction reads.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            repeatable_read()
        yield


def id_list(ids: Sequence[Any]) -> str:
    """Return integers or UUIDs as the text of a PostgreSQL array or of a JSON array: one parameter, whatever their number."""
    if on_postgresql():
        return f"{{{','.join(map(str, ids))}}}"
    return json.dumps([one if isinstance(one, int) else one.hex for one in ids])


def among_ids(column: str) -> str:
    """Return the condition that `column` is among the integers of one `id_list` parameter."""
    if on_postgresql():
        return f"{column} = ANY(CAST(%s AS bigint[]))"
    return f"{column} IN (SELECT value FROM json_each(%s))"  # noqa: S608 - the caller's constant


def among_uuids(column: str) -> str:
    """Return the condition that `column` is among the UUIDs of one `id_list` parameter."""
    if on_postgresql():
        return f"{column} = ANY(CAST(%s AS uuid[]))"
    return f"{column} IN (SELECT value FROM json_each(%s))"  # noqa: S608 - the caller's constant


def text_list(texts: Iterable[str]) -> str:
    """Return texts as a JSON array: one parameter, whatever their number (an array literal is ten times slower to write)."""
    return json.dumps(list(texts))


def among_texts(column: str) -> str:
    """Return the condition that `column` is among the texts of one `text_list` parameter."""
    if on_postgresql():
        # As an array, so that each is looked up, however small the table was when the statement was planned.
        return f"{column} = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(%s AS jsonb))))"
    return f"{column} IN (SELECT value FROM json_each(%s))"  # noqa: S608 - the caller's constant


def counted_texts() -> str:
    """Return a SELECT of pairs (text, number) from one parameter, a JSON array of such pairs, in its order; for INSERT."""
    if on_postgresql():
        return "SELECT p->>0, CAST(p->>1 AS bigint) FROM jsonb_array_elements(CAST(%s AS jsonb)) AS p"
    # WHERE true: without it SQLite reads ON CONFLICT as a join condition.
    return "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s) WHERE true"


def time_parameter(moment: Any) -> Any:
    """Return a moment as a parameter of SQL text: SQLite stores naive UTC text."""
    return connection.ops.adapt_datetimefield_value(moment)


def time_result(found: datetime | str | None) -> datetime | None:
    """Return a time that min() or max() returned: SQLite returns text."""
    return datetime.fromisoformat(found).replace(tzinfo=UTC) if isinstance(found, str) else found


def epoch(column: str) -> str:
    """Return the whole seconds since 1970 of a column with times, cut off and not rounded; NULL for NULL."""
    if on_postgresql():
        return f"CAST(floor(extract(epoch FROM {column})) AS bigint)"
    return f"CAST(strftime('%%s', {column}) AS integer)"


def time_digits(column: str) -> str:
    """Return the UTC time of a column as 14 digits, such as 20261124083015; the empty text for NULL."""
    if on_postgresql():
        return f"coalesce(to_char({column} AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS'), '')"
    return f"coalesce(strftime('%%Y%%m%%d%%H%%M%%S', {column}), '')"


def texts_joined(column: str, separator: str, *, order: str) -> str:
    """Return the aggregate that joins texts in the order of a column. SQLite joins them as the rows come: in that order too."""
    return f"string_agg({column}, '{separator}' ORDER BY {order})" if on_postgresql() else f"group_concat({column}, '{separator}')"


def numbers_collected(column: str) -> str:
    """Return the aggregate that collects integers; `numbers_result` reads what it returned."""
    return f"array_agg({column})" if on_postgresql() else f"json_group_array({column})"


def numbers_result(found: list[int] | str | None) -> list[int]:
    """Return the integers of a `numbers_collected`; none where there was no row."""
    numbers: list[int] = json.loads(found) if isinstance(found, str) else found or []
    return numbers


class _AnyOf(Lookup):
    """The condition that the column is one of the ids, which are one parameter.

    As a list they cost Django and the database a millisecond for each fifty. On PostgreSQL by a
    subquery, from which the planner begins: beside `= ANY` of thousands it expects next to nothing
    of other conditions, and reads the whole table by one of them.
    """

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        """Return the condition, with all ids in one parameter."""
        column, parameters = self.process_lhs(compiler, connection)
        if on_postgresql():
            return f"{column} IN (SELECT unnest(CAST(%s AS bigint[])))", (*parameters, self.rhs)
        return among_ids(column), (*parameters, self.rhs)


def among(column: str, ids: Sequence[int]) -> Any:
    """Return the condition that an integer column is among these ids, for `filter` and `exclude`."""
    return _AnyOf(F(column), id_list(ids))


class _PlaceAmong(Func):
    """The place, from 0, of an integer column's value among ids, which are one parameter; NULL for another value."""

    output_field = IntegerField()

    def __init__(self, column: str, ids: Sequence[int]) -> None:
        super().__init__(F(column))
        self._ids = id_list(ids)

    def as_sql(self, compiler: Any, connection: Any, *_names: Any, **_context: Any) -> tuple[str, tuple[str | int, ...]]:
        """Return the expression, with all ids in one parameter."""
        column, parameters = compiler.compile(self.get_source_expressions()[0])
        if on_postgresql():
            return f"array_position(CAST(%s AS bigint[]), {column}) - 1", (self._ids, *parameters)
        return f"(SELECT key FROM json_each(%s) WHERE value = {column})", (self._ids, *parameters)  # noqa: S608 - Django's own SQL


def place_among(column: str, ids: Sequence[int]) -> Func:
    """Return the expression for the place, from 0, that an integer column's value has among these ids."""
    return _PlaceAmong(column, ids)


def ids_on_sqlite(table: str, count: int) -> range:
    """Take so many numbers from SQLite's sequence of the table."""
    rows = fetch("UPDATE sqlite_sequence SET seq = seq + %s WHERE name = %s RETURNING seq", [count, table])
    if not rows:
        fetch("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, count])
    end = rows[0][0] if rows else count
    return range(end - count + 1, end + 1)


@lru_cache(maxsize=64)
def sequence_of(table: str) -> str:
    """Return the name of PostgreSQL's sequence of the table's ids."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
        return str(cursor.fetchone()[0])


def ids_of(tables: Sequence[tuple[str, int]]) -> Statement:
    """Return ids for new rows of several tables, with the place of the table, in order."""
    parts = [f"SELECT {n}, nextval('{sequence_of(table)}') FROM generate_series(1, %s)" for n, (table, _) in enumerate(tables)]  # noqa: S608 - identifiers
    return f"{' UNION ALL '.join(parts)} ORDER BY 1, 2", [count for _, count in tables]


def ids_statement(table: str, count: int) -> Statement:
    """Return ids for new rows of one table."""
    return f"SELECT nextval('{sequence_of(table)}') FROM generate_series(1, %s)", [count]  # noqa: S608 - an identifier
