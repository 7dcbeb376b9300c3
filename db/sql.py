"""Rows in and out by the database's fastest way. At the bottom of the house, because every room writes in batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connection

from db.backend import on_postgresql
from db.copy import copy_rows
from db.pipeline import exchange, exchange_first

# Below this, one INSERT of all rows is as fast as starting a COPY.
COPY_FROM = 25


Query: TypeAlias = tuple[str, Sequence[Any]]  # SQL and its parameters


@dataclass(frozen=True, slots=True)
class Rows:
    """New rows of one table; `columns` is the column list as SQL."""

    table: str
    columns: str
    rows: Sequence[Sequence[Any]]


def insert_rows(table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows of one table."""
    insert_together([Rows(table, columns, rows)])


def insert_together(parts: Sequence[Rows | Query], *, commit: bool = False, afterwards: Sequence[Query] = ()) -> list[list[Any]] | None:
    """Insert rows of several tables, and run statements that answer nothing, in order. On PostgreSQL many rows go by COPY, and all
    the small parts in one round trip; with `commit` it ends the open transaction, which must be the outermost. What `afterwards`
    asks is asked then, where that costs no round trip; else the answer is None.
    """
    if not on_postgresql():
        with connection.cursor() as cursor:
            for part in parts:
                _one_by_one(cursor, part)
        return None
    small: list[Query] = []
    for part in parts:
        if isinstance(part, Rows) and len(part.rows) > COPY_FROM:
            if small:
                exchange(small)
                small = []
            copy_rows(part.table, part.columns, part.rows)
        elif not isinstance(part, Rows):
            small.append(part)
        elif part.rows:
            small.append(_insert(part))
    if not small:
        return None
    told = exchange(small, commit=commit, afterwards=afterwards if commit else ())[len(small) :]
    return told if commit and len(told) == len(afterwards) else None


def _one_by_one(cursor: Any, part: Rows | Query) -> None:
    if not isinstance(part, Rows):
        cursor.execute(*part)
    elif part.rows:
        marks = ", ".join(["%s"] * len(part.rows[0]))
        adapted = [[sqlite_value(value) for value in row] for row in part.rows]
        cursor.executemany(f"INSERT INTO {part.table} ({part.columns}) VALUES ({marks})", adapted)  # noqa: S608 - the callers' constants


def _insert(part: Rows) -> Query:
    rows = part.rows
    return _insert_sql(part.table, part.columns, len(rows[0]), len(rows)), rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))


@lru_cache(maxsize=4096)
def _insert_sql(table: str, columns: str, width: int, count: int) -> str:
    marks = "(" + ", ".join(["%s"] * width) + ")"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([marks] * count)}"  # noqa: S608 - the callers' constants


def ask(*queries: Query) -> list[list[Any]]:
    """The rows that each of several statements answers, in order; on PostgreSQL in one round trip."""
    if not queries:
        return []
    if on_postgresql():
        return exchange(queries)
    with connection.cursor() as cursor:
        return [_rows_of(cursor.execute(sql, parameters)) for sql, parameters in queries]


def ask_first(*queries: Query) -> list[list[Any]]:
    """`ask` for reads that come first in a call, outside of a transaction: a connection that was lost
    since the call before is noticed by them and replaced, without a round trip of its own.
    """
    return exchange_first(queries) if on_postgresql() else ask(*queries)


def _rows_of(cursor: Any) -> list[Any]:
    return list(cursor.fetchall()) if cursor.description else []


def ids_query(*wanted: tuple[str, int]) -> Query:
    """For `ask`: ids for so many new rows of each table, rising; `ids_of` takes the answer apart. On SQLite the write lock is held
    already, so the sequences cannot move under us.
    """
    parts: list[str] = []
    parameters: list[Any] = []
    for number, (table, count) in enumerate(wanted):
        if on_postgresql():
            # Nearly always nobody else took one meanwhile, and the first and the last say it all.
            taken = f"SELECT nextval('{_sequence_of(table)}') AS n FROM generate_series(1, %s)"  # noqa: S608 - identifiers only
            each = "CASE WHEN max(n) - min(n) >= count(*) THEN array_agg(n) END"
            parts.append(f"SELECT {number}, min(n), max(n), {each} FROM ({taken}) taken")  # noqa: S608 - identifiers only
            parameters += [count]
        else:
            last = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = %s), 0)"
            parts.append(f"SELECT {number}, {last} + 1, {last} + %s, NULL")
            parameters += [table, table, count]
    return " UNION ALL ".join(parts), parameters


def ids_of(rows: Iterable[tuple[int, int | None, int, Sequence[int] | None]], tables: int = 1) -> list[Sequence[int]]:
    """The ids that `ids_query` asked for, by table."""
    ids: list[Sequence[int]] = [()] * tables
    for number, first, last, each in rows:
        if first is not None:
            ids[number] = each or range(first, last + 1)
    return ids


@lru_cache(maxsize=64)
def _sequence_of(table: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
        return str(cursor.fetchone()[0])


def reserve_ids(table: str, count: int) -> list[int]:
    """Ids for `count` new rows, rising."""
    return list(ids_of(ask(ids_query((table, count)))[0])[0])


def id_list(ids: Sequence[int]) -> str:
    """Ids as the text of a PostgreSQL array or of a JSON array: one parameter, whatever their number."""
    text = ",".join(map(str, ids))
    return f"{{{text}}}" if on_postgresql() else f"[{text}]"


def among_ids(column: str) -> str:
    """The condition that `column` is among the ids of one `id_list` parameter."""
    if on_postgresql():
        return f"{column} = ANY(CAST(%s AS bigint[]))"
    return f"{column} IN (SELECT value FROM json_each(%s))"  # noqa: S608 - the caller's constant


def text_list(texts: Iterable[str]) -> str:
    """Texts as a JSON array: one parameter, whatever their number (an array literal is ten times slower to write)."""
    return json.dumps(list(texts))


def among_texts(column: str) -> str:
    """The condition that `column` is among the texts of one `text_list` parameter."""
    if on_postgresql():
        # As an array, so that each is looked up, however small the table was when the statement was planned.
        return f"{column} = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(%s AS jsonb))))"
    return f"{column} IN (SELECT value FROM json_each(%s))"  # noqa: S608 - the caller's constant


def sqlite_value(value: Any) -> Any:
    """Datetimes and UUIDs as Django's own fields store them in SQLite: naive UTC text, and hex."""
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value.hex if isinstance(value, UUID) else value
