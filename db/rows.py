"""Rows of any model: inserted, updated, locked and read by the batch.

On PostgreSQL by COPY, multi-row INSERT, one UPDATE for many rows and prepared reads: the ORM's
`bulk_create` and `bulk_update` take 0.1 to 0.2 ms a row, which is a quarter of a bulk order. On
SQLite by the ORM. Only Django's public model API is used, and no model is known here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, models, transaction

from db.backend import on_postgresql
from db.columns import columns_of, field_of, quoted
from db.copy import copy_rows
from db.pipeline import Row, Statement, run
from db.reads import Read, read
from db.sql import (
    among_ids,
    among_texts,
    among_uuids,
    as_one,
    counted,
    id_list,
    ids_of,
    ids_on_sqlite,
    ids_statement,
    text_list,
    time_parameter,
)

COPY_FROM = 25  # rows; below this, one INSERT of all rows is as fast as starting a COPY
MOST_AT_ONCE = 500  # rows of one INSERT: PostgreSQL takes 65535 parameters
Model = TypeVar("Model", bound=models.Model)
Other = TypeVar("Other", bound=models.Model)
Values = Mapping[str, Any]  # by field name or attribute name
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_NONE: Mapping[str, str] = {}


class Lock(StrEnum):
    """How rows that are read stay locked until the open transaction ends. On SQLite the transaction holds the only write lock."""

    NONE = ""
    SHARE = " FOR SHARE"  # others may read and share them, nobody may change them (the ORM has no word for it)
    UPDATE = " FOR UPDATE"


# --- reading


def select(model: type[Model], *, lock: Lock = Lock.NONE, unless: Mapping[str, str] = _NONE, **where: Any) -> list[Model]:
    """Return the rows whose columns have these values, in the order of their keys.

    A list, tuple or set means any of its values; `unless` names a word that a column must not
    have, as in the condition of an index. A lock needs an open transaction; rows are locked in the
    order of their keys, so that two callers cannot wait for each other.
    """
    return read(selection(model, lock=lock, unless=unless, **where))


def selection(model: type[Model], *, lock: Lock = Lock.NONE, unless: Mapping[str, str] = _NONE, **where: Any) -> Read[list[Model]]:
    """Return `select` as a read, to be sent with others."""
    statement = _select_statement(model, columns_of(model).selected, where, lock=lock, unless=unless)
    return Read([statement], lambda rows: _objects(model, rows[0]), lambda: list(_queryset(model, where).exclude(**unless)))


def partial_selection(
    model: type[Model], names: tuple[str, ...], *, lock: Lock = Lock.NONE, unless: Mapping[str, str] = _NONE, **where: Any
) -> Read[list[Model]]:
    """Return a `selection` of these plain attributes only, in the order of the model's fields and with its key, like the ORM's `only`."""
    statement = _select_statement(model, _columns_sql(model, names), where, lock=lock, unless=unless)
    return Read(
        [statement],
        lambda rows: [model.from_db(DEFAULT_DB_ALIAS, names, row) for row in rows[0]],
        lambda: list(_queryset(model, where).exclude(**unless).only(*names)),
    )


@lru_cache(maxsize=64)
def _columns_sql(model: type[models.Model], names: tuple[str, ...]) -> str:
    return ", ".join(quoted(str(field_of(model, name).column)) for name in names)


def select_keys(model: type[models.Model], *, lock: Lock = Lock.NONE, **where: Any) -> list[Any]:
    """Return only the keys of the rows that `select` would return, and lock the rows in the same way."""
    return read(key_selection(model, lock=lock, **where))


def key_selection(model: type[models.Model], *, lock: Lock = Lock.NONE, **where: Any) -> Read[list[Any]]:
    """Return `select_keys` as a read, to be sent with others."""
    statement = _select_statement(model, columns_of(model).key, where, lock=lock)
    return Read(
        [statement],
        lambda rows: [key for (key,) in rows[0]],
        lambda: list(_queryset(model, where).values_list("pk", flat=True)),
    )


def _select_statement(
    model: type[models.Model], selected: str, where: Values, *, lock: Lock, unless: Mapping[str, str] = _NONE
) -> Statement:
    shape = tuple((name, _shape(value)) for name, value in where.items())
    sql = _select_sql(model, selected, shape, lock, tuple(unless.items()))
    return sql, [_parameter(model, name, value) for name, value in where.items() if value is not None]


@lru_cache(maxsize=1024)
def _select_sql(
    model: type[models.Model], selected: str, shape: tuple[tuple[str, str], ...], lock: Lock, unless: tuple[tuple[str, str], ...]
) -> str:
    columns = columns_of(model)
    condition = _condition_sql(model, shape)
    for name, word in unless:  # in the text, or no partial index would be used
        if not word.isidentifier():
            raise ValueError(f"not a word: {word}")
        condition += f" AND {columns.table}.{quoted(str(field_of(model, name).column))} <> '{word}'"
    return f"SELECT {selected} FROM {columns.table} WHERE {condition} ORDER BY {columns.key}{lock}"  # noqa: S608 - identifiers


def _objects(model: type[Model], rows: Iterable[Row]) -> list[Model]:
    columns, found = columns_of(model), []
    for row in rows:
        values: Sequence[Any] = row
        if columns.json:
            values = list(row)
            for position, field in columns.json:
                values[position] = field.from_db_value(values[position], None, connection)
        found.append(model.from_db(DEFAULT_DB_ALIAS, columns.names, values))
    return found


def _queryset(model: type[Model], where: Values) -> models.QuerySet[Model]:
    exact = {f"{name}__in" if _is_choice(value) else name: value for name, value in where.items()}
    nulls = {f"{name}__isnull": True for name, value in exact.items() if value is None}
    others = {name: value for name, value in exact.items() if value is not None}
    return models.QuerySet(model).filter(**others, **nulls).order_by("pk")


def _is_choice(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)


def _shape(value: Any) -> str:
    """Return how a value is compared: NULL, equal, or among several."""
    return "null" if value is None else "any" if _is_choice(value) else "one"


def _condition(model: type[models.Model], where: Values) -> tuple[str, list[Any]]:
    shape = tuple((name, _shape(value)) for name, value in where.items())
    return _condition_sql(model, shape), [_parameter(model, name, value) for name, value in where.items() if value is not None]


@lru_cache(maxsize=1024)
def _condition_sql(model: type[models.Model], shape: tuple[tuple[str, str], ...]) -> str:
    table = columns_of(model).table
    parts: list[str] = []
    for name, compared in shape:
        field = field_of(model, name)
        column = f"{table}.{quoted(str(field.column))}"
        parts.append(f"{column} IS NULL" if compared == "null" else f"{column} = %s" if compared == "one" else _among(field, column))
    return " AND ".join(parts) or "true"


def _parameter(model: type[models.Model], name: str, value: Any) -> Any:
    return _list_parameter(field_of(model, name), value) if _is_choice(value) else value


def _among(field: models.Field[Any, Any], column: str) -> str:
    """Return the condition that a column has one of the values of one parameter, whatever their number."""
    kind = _kind(field)
    return among_ids(column) if kind == "integer" else among_uuids(column) if kind == "uuid" else among_texts(column)


def _list_parameter(field: models.Field[Any, Any], values: Collection[Any]) -> str:
    kind = _kind(field)
    if kind == "integer":
        return id_list(sorted(values))
    return id_list(list(values)) if kind == "uuid" else text_list(sorted(map(str, values)))


@lru_cache(maxsize=512)
def _kind(field: models.Field[Any, Any]) -> str:
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    if isinstance(field, models.UUIDField):
        return "uuid"
    return "integer" if isinstance(field, models.IntegerField) else "text"


# --- inserting


def give_ids(rows: Sequence[models.Model]) -> None:
    """Take ids from the table's sequence for new rows to which others refer before they are inserted. Needs an open transaction."""
    fresh = [row for row in rows if row.pk is None]
    if fresh:
        for row, pk in zip(fresh, take_ids(fresh[0]._meta.db_table, len(fresh)), strict=True):
            row.pk = pk


def number(
    groups: Sequence[Sequence[models.Model]], *, first: Sequence[Statement] = (), also: Sequence[tuple[str, int]] = ()
) -> tuple[list[list[Row]], list[Sequence[int]]]:
    """Run the statements `first`, then give ids to the new rows that have none; on PostgreSQL in one round trip.

    Rows that refer to a row of another group get its new id. On SQLite the INSERT numbers rows.
    `also`: tables and how many ids to take besides. Returns the rows that the statements returned,
    and those ids, rising.
    """
    if not on_postgresql():
        results = [rows for rows, _ in run(first)]
        return results, [take_ids(table, count) for table, count in also]
    unnumbered = [[row for row in group if row.pk is None] for group in groups if isinstance(group[0]._meta.pk, models.AutoField)]
    fresh = [group for group in unnumbered if group]
    tables = [*((group[0]._meta.db_table, len(group)) for group in fresh), *also]
    results = [rows for rows, _ in run([*first, ids_of(tables)] if tables else first)]
    taken = iter(results.pop() if tables else ())
    for group in fresh:
        for row in group:
            _, row.pk = next(taken)
    for referring in groups if fresh else ():
        for field in type(referring[0])._meta.concrete_fields:
            if isinstance(field, models.ForeignKey):
                for row in referring:
                    if getattr(row, field.attname) is None and field.is_cached(row) and (parent := getattr(row, field.name)) is not None:
                        setattr(row, field.attname, parent.pk)
    return results, [[next(taken)[1] for _ in range(count)] for _, count in also]


def take_ids(table: str, count: int) -> Sequence[int]:
    """Take ids for `count` new rows of a table, rising; nobody else gets them. Needs an open transaction."""
    return read(new_ids(table, count)) if count else ()


def new_ids(table: str, count: int) -> Read[Sequence[int]]:
    """Return `take_ids` as a read, to be sent with others."""
    statements = [ids_statement(table, count)] if on_postgresql() else []
    return Read(statements, lambda rows: [row[0] for row in rows[0]], lambda: ids_on_sqlite(table, count))


def insert(*groups: Sequence[models.Model]) -> None:
    """Insert new rows, each group of one model, in order. Rows without an id are numbered by the database.

    Raises Django's database errors; needs an open transaction if there is more than one group.
    """
    if on_postgresql():
        write_new([new_rows(group) for group in groups if group])
        return
    for group in groups:
        if group:
            _manager(group).bulk_create(group)


def insert_missing(rows: Sequence[Model]) -> None:
    """Insert those of the rows that violate no constraint, in this order; the others are there already."""
    if not rows:
        return
    if not on_postgresql():
        _manager(rows).bulk_create(rows, ignore_conflicts=True)
        return
    run(_insert_missing_statements(rows))


def _insert_missing_statements(rows: Sequence[models.Model]) -> list[Statement]:
    parts = [_insert_statement(new_rows(rows[first : first + MOST_AT_ONCE])) for first in range(0, len(rows), MOST_AT_ONCE)]
    return [(f"{sql} ON CONFLICT DO NOTHING", parameters) for sql, parameters in parts]


def stored(rows: Sequence[Model]) -> Read[list[Model]]:
    """Return a read that is `insert_missing`, then returns all of the rows as they are stored, locked FOR SHARE.

    There is at least one row, and the rows bring their keys.
    """
    model, keys = type(rows[0]), {row.pk for row in rows}
    found = selection(model, lock=Lock.SHARE, pk=keys)

    def on_sqlite() -> list[Model]:
        insert_missing(rows)
        return found.on_sqlite()

    return Read([*_insert_missing_statements(rows), *found.statements], lambda results: found.result(results[-1:]), on_sqlite)


def _manager(rows: Sequence[models.Model]) -> Any:
    return models.QuerySet(type(rows[0]))


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows for one table, as the database takes them; `columns` is the column list as SQL, JSON is text."""

    table: str
    columns: str
    rows: Sequence[Sequence[Any]]


def new_rows(group: Sequence[models.Model]) -> NewRows:
    """Return the content of new rows of one model."""
    columns = columns_of(type(group[0]))
    numbered = group[0].pk is not None
    skip = 0 if numbered else 1  # the key comes first
    names = columns.names_key_first[skip:]
    read = attrgetter(*names)
    rows: list[Sequence[Any]] = [read(row) if len(names) > 1 else (read(row),) for row in group]
    if columns.json_key_first:
        rows = [list(row) for row in rows]
        for position in columns.json_key_first:
            for row in rows:
                value = row[position - skip]
                row[position - skip] = None if value is None else _encode(value)  # type: ignore[index]
    return NewRows(columns.table, ", ".join(columns.key_first[skip:]), rows)


def write_new(parts: Sequence[NewRows], *, first: Sequence[Statement] = ()) -> list[int]:
    """Run the statements `first`, then write new rows; return the number of rows that each of the statements wrote.

    On PostgreSQL many rows go by COPY, which is not allowed within a pipeline, and everything else
    in one round trip. Foreign keys are checked at the commit, so the order of the parts does not matter.
    """
    if not on_postgresql():
        counts = [count for _, count in run(first)]
        for part in parts:
            _insert_one_by_one(part)
        return counts
    small = [_insert_statement(part) for part in parts if 0 < len(part.rows) <= COPY_FROM]
    large = [part for part in parts if len(part.rows) > COPY_FROM]
    inserts = [as_one(small)] if small else []
    if len(first) > 1:
        (numbers, _), *_others = run([counted(first), *inserts])
        written: list[int] = list(numbers[0])
    else:
        written = [count for _, count in run([*first, *inserts])[: len(first)]]
    for part in large:
        copy_rows(part.table, part.columns, part.rows)
    return written


def _insert_one_by_one(part: NewRows) -> None:
    if part.rows:
        adapted = [[time_parameter(value) if isinstance(value, datetime) else value for value in row] for row in part.rows]
        with connection.cursor() as cursor:
            cursor.executemany(_insert_sql(part.table, part.columns, len(part.rows[0]), 1), adapted)


def _insert_statement(part: NewRows) -> Statement:
    return _insert_sql(part.table, part.columns, len(part.rows[0]), len(part.rows)), list(chain.from_iterable(part.rows))


@lru_cache(maxsize=4096)
def _insert_sql(table: str, columns: str, width: int, count: int) -> str:
    marks = "(" + ", ".join(["%s"] * width) + ")"
    return f"INSERT INTO {table} ({columns}) VALUES {', '.join([marks] * count)}"  # noqa: S608 - identifiers


# --- updating


def update(model: type[models.Model], rows: Mapping[Any, Values], *, only_if: Values | None = None) -> int:
    """Write values to many rows, different ones to each; return how many rows were written.

    `only_if` names columns and the values that they must have: a compare-and-set. Rows that two
    workers may both update must have been locked in the order of their keys before.
    """
    if not on_postgresql():
        with transaction.atomic():
            return sum(_queryset(model, {"pk": pk, **(only_if or {})}).update(**values) for pk, values in sorted(rows.items()))
    return sum(count for _, count in run(update_statements(model, rows, only_if=only_if)))


def save_fields(rows: Sequence[models.Model], names: Sequence[str]) -> None:
    """Write these attributes of rows of one model, which the open transaction has locked."""
    if rows:
        update(type(rows[0]), {row.pk: {name: getattr(row, name) for name in names} for row in rows})


def update_statements(model: type[models.Model], rows: Mapping[Any, Values], *, only_if: Values | None = None) -> list[Statement]:
    """Return, for PostgreSQL, one statement for each set of columns that is written."""
    by_columns: dict[tuple[str, ...], list[tuple[Any, Values]]] = {}
    for pk, values in sorted(rows.items()):  # two workers meet the same rows in the same order
        by_columns.setdefault(tuple(values), []).append((pk, values))
    return [_update_statement(model, names, group, only_if or {}) for names, group in by_columns.items()]


def _update_statement(model: type[models.Model], names: Sequence[str], rows: list[tuple[Any, Values]], only_if: Values) -> Statement:
    """Values that all rows share are parameters; the others come from one JSON parameter, read as a table `v`."""
    fields = {name: field_of(model, name) for name in names}
    first = rows[0][1]
    shared = [name for name in names if all(values[name] == first[name] for _, values in rows)]
    own = [name for name in names if name not in shared]
    columns = columns_of(model)
    key = f"{columns.table}.{columns.key}"
    assignments = [f"{quoted(str(fields[name].column))} = %s" for name in shared]
    parameters = [_bound(fields[name], first[name]) for name in shared]
    if own:
        columns_sql = {name: quoted(str(fields[name].column)) for name in own}
        assignments += [f"{column} = v.{column}" for column in columns_sql.values()]
        content = [{"own_key": str(pk)} | {str(fields[name].column): _in_json(values[name]) for name in own} for pk, values in rows]
        types = ", ".join(f"{columns_sql[name]} {_cast_type(fields[name])}" for name in own)
        key_type = _cast_type(field_of(model, "pk"))
        tail = f"FROM jsonb_to_recordset(CAST(%s AS jsonb)) AS v(own_key {key_type}, {types}) WHERE {key} = v.own_key"
        parameters.append(_encode(content))
    else:
        field = field_of(model, "pk")
        tail = f"WHERE {_among(field, key)}"
        parameters.append(_list_parameter(field, [pk for pk, _ in rows]))
    condition, compared = _condition(model, only_if)
    sql = f"UPDATE {columns.table} SET {', '.join(assignments)} {tail}"  # noqa: S608 - identifiers
    return (f"{sql} AND {condition}" if only_if else sql), [*parameters, *compared]


def _bound(field: models.Field[Any, Any], value: Any) -> Any:
    """Return a value as the driver takes it. psycopg knows every type of ours but JSON's, which may be a text or a list of anything."""
    return field.get_db_prep_save(value, connection) if isinstance(field, models.JSONField) else value


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _cast_type(field: models.Field[Any, Any]) -> str:
    """Return a type that refuses what does not fit: a cast to varchar(n) would cut it off in silence."""
    if isinstance(field, models.ForeignKey):
        return str(field.target_field.rel_db_type(connection))
    if isinstance(field, models.CharField | models.TextField):
        return "text"
    return str(field.rel_db_type(connection) if isinstance(field, models.AutoField) else field.cast_db_type(connection))


def by_key(rows: Iterable[Model]) -> dict[Any, Model]:
    """Return rows by their keys, as the ORM's `in_bulk` returns them."""
    return {row.pk: row for row in rows}
