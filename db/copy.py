"""COPY in PostgreSQL's binary format: octets go as they are, instead of as hex that is written, escaped, sent and read again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from django.db import DataError, connection

# psycopg packs these itself. Into the smaller integers it would put, without a word, as much of a number as fits.
_PACKED_BY_PSYCOPG = frozenset({"int8", "varchar", "text", "bytea", "timestamptz", "date", "bool", "uuid"})
_PACKED_HERE: dict[str, Callable[[Any], bytes]] = {
    "int4": struct.Struct(">i").pack,
    "int2": struct.Struct(">h").pack,
    "jsonb": lambda text: b"\x01" + text.encode(),  # the format's version, then JSON as text
}


def copy_rows(table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows of one table; `columns` is the column list as SQL. JSON is given as text. Raises Django's database errors, and
    OverflowError for a number beyond 64 bits.
    """
    types = _types(table, columns)
    sent = ["bytea" if name in _PACKED_HERE else name for name in types]
    packed = [(n, _PACKED_HERE[name]) for n, name in enumerate(types) if name in _PACKED_HERE]
    into = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(into) as copy:
        copy.set_types(sent)
        for row in _packed(rows, packed) if packed else rows:
            copy.write_row(row)


def _packed(rows: Iterable[Sequence[Any]], positions: Sequence[tuple[int, Callable[[Any], bytes]]]) -> Iterable[list[Any]]:
    for row in rows:
        values = list(row)
        for n, pack in positions:
            if values[n] is not None:
                try:
                    values[n] = pack(values[n])
                except struct.error as exc:
                    raise DataError(f"column {n + 1} of a row cannot hold {values[n]}: {exc}") from exc
        yield values


@lru_cache(maxsize=64)
def _types(table: str, columns: str) -> tuple[str, ...]:
    """Return the columns' types as PostgreSQL names them."""
    sql = (
        "SELECT attname, typname FROM pg_attribute JOIN pg_type t ON t.oid = atttypid WHERE attrelid = CAST(%s AS regclass) AND attnum > 0"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [table])
        known = dict(cursor.fetchall())
    types = tuple(known[column.strip(' "')] for column in columns.split(","))
    if strange := set(types) - _PACKED_BY_PSYCOPG - _PACKED_HERE.keys():
        raise TypeError(f"db.copy does not know how PostgreSQL packs {', '.join(sorted(strange))} ({table}).")
    return types
