"""Model rows by the hundred: inserted by COPY, updated in one statement, whatever each row's values are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models

from audit.batches import Rows, among_ids, id_list, insert_together, reserve_ids
from audit.gathering import Group, gathering

_WITHOUT_LENGTH = (models.CharField, models.TextField)
Row = TypeVar("Row", bound=models.Model)


def insert_models(*groups: Sequence[models.Model]) -> None:
    """Insert new rows of several models, in order, in as few statements as can be: within `audit.log.together()` at its end.

    Rows without an id get one then; who needs it before calls `give_ids`. A row may refer to another of the same call, or held
    back before it, that has no id yet.
    """
    filled = [list(group) for group in groups if group]
    if gathering.goes_on():
        gathering.groups += [_held(group) for group in filled]
        return
    for group in filled:
        if isinstance(group[0]._meta.pk, models.AutoField):
            give_ids(group)
    insert_together([_rows(group) for group in filled])


def give_ids(rows: Sequence[models.Model]) -> None:
    """Take ids from the table's sequence for rows that are about to be inserted and need one."""
    fresh = [row for row in rows if row.pk is None]
    if fresh:
        _number(fresh, reserve_ids(fresh[0]._meta.db_table, len(fresh)))


def _number(rows: Sequence[models.Model], ids: Sequence[int]) -> None:
    for row, pk in zip(rows, ids, strict=True):
        row.pk = pk


def _held(group: Sequence[models.Model]) -> Group:
    numbered = isinstance(group[0]._meta.pk, models.AutoField)
    fresh = [row for row in group if row.pk is None] if numbered else []
    return Group(group[0]._meta.db_table, len(fresh), partial(_number, fresh), partial(_rows, group))


def _rows(group: Sequence[models.Model]) -> Rows:
    """The rows as they are now; from here on they count as inserted."""
    layout = _layout(type(group[0]))
    for field in layout.relations:
        _take_over_ids(group, field)
    numbered = group[0].pk is not None
    read = itemgetter(*(layout.names if numbered else layout.names[1:]))
    rows: list[Any] = [read(row.__dict__) for row in group]
    for position in layout.json:
        at = position if numbered else position - 1
        rows = [(*row[:at], _json(row[at]), *row[at + 1 :]) for row in rows]
    for row in group:
        row._state.adding, row._state.db = False, connection.alias
    return Rows(type(group[0])._meta.db_table, ", ".join(layout.columns if numbered else layout.columns[1:]), rows)


def _take_over_ids(group: Sequence[models.Model], field: models.ForeignKey[Any, Any]) -> None:
    """A row that was built before its parent had an id gets it now."""
    for row in group:
        if row.__dict__[field.attname] is None and (parent := field.get_cached_value(row, default=None)) is not None:
            row.__dict__[field.attname] = parent.pk


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns as SQL, primary key first; the attributes they come from; which of them are JSON, for drivers do not guess it."""

    columns: tuple[str, ...]
    names: tuple[str, ...]
    json: tuple[int, ...]
    relations: tuple[models.ForeignKey[Any, Any], ...]


@lru_cache(maxsize=64)
def _layout(model: type[models.Model]) -> _Layout:
    fields = sorted(model._meta.concrete_fields, key=lambda field: not field.primary_key)
    return _Layout(
        columns=tuple(_quoted(str(field.column)) for field in fields),
        names=tuple(field.attname for field in fields),
        json=tuple(n for n, field in enumerate(fields) if isinstance(field, models.JSONField)),
        relations=tuple(field for field in fields if isinstance(field, models.ForeignKey)),
    )


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def update_rows(model: type[models.Model], rows: Mapping[int, Mapping[str, Any]], *, only_if: Mapping[str, Any] | None = None) -> set[int]:
    """Write values to many rows, different ones to each, in one statement for each set of columns; answers the ids written.

    `only_if` names columns and the values they must have: a compare-and-set. Rows that two workers may both update must be
    locked in the order of their ids before. (The ORM's bulk_update builds a CASE for each column: twenty times slower.)
    """
    by_columns: dict[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]] = {}
    for pk, values in sorted(rows.items()):  # of two workers on the same rows, both meet them in the same order
        by_columns.setdefault(tuple(values), []).append((pk, values))
    written: set[int] = set()
    for columns, group in by_columns.items():
        written |= _update(model, columns, group, only_if or {})
    return written


def _update(
    model: type[models.Model], columns: Sequence[str], rows: list[tuple[int, Mapping[str, Any]]], only_if: Mapping[str, Any]
) -> set[int]:
    first = rows[0][1]
    shared = [name for name in columns if all(values[name] == first[name] for _, values in rows)]
    own = [name for name in columns if name not in shared]
    fields = {name: _column(model, name) for name in (*columns, *only_if)}
    table, key = _quoted(model._meta.db_table), _quoted(str(model._meta.pk.column))
    assignments = [f"{_quoted(str(fields[name].column))} = %s" for name in shared]
    parameters = [fields[name].get_db_prep_save(first[name], connection) for name in shared]
    marks = {name: "IS NULL" if value is None else "= %s" for name, value in only_if.items()}
    conditions = [f"{table}.{_quoted(str(fields[name].column))} {mark}" for name, mark in marks.items()]
    compared = [fields[name].get_db_prep_save(value, connection) for name, value in only_if.items() if value is not None]
    if own:
        source, given = _values([fields[name] for name in own], rows)
        assignments += [f"{_quoted(str(fields[name].column))} = v.{_quoted(str(fields[name].column))}" for name in own]
        tail, bound = f"FROM {source} WHERE {table}.{key} = v.own_id", given
    else:
        tail, bound = f"WHERE {among_ids(f'{table}.{key}')}", [id_list([pk for pk, _ in rows])]
    where = "".join(f" AND {condition}" for condition in conditions)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {', '.join(assignments)} {tail}{where} RETURNING {table}.{key}",  # noqa: S608 - identifiers only
            [*parameters, *bound, *compared],
        )
        return {row[0] for row in cursor.fetchall()}


def _values(fields: Sequence[models.Field[Any, Any]], rows: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[str, list[Any]]:
    """A table `v` of the rows' own values: from one JSON parameter on PostgreSQL, as VALUES on SQLite (it has no bytes in JSON)."""
    names = [_quoted(str(field.column)) for field in fields]
    if connection.vendor == "postgresql":
        content = [{"own_id": pk} | {str(f.column): _in_json(values[f.name]) for f in fields} for pk, values in rows]
        columns = ", ".join(f"{name} {_cast_type(field)}" for name, field in zip(names, fields, strict=True))
        return f"jsonb_to_recordset(CAST(%s AS jsonb)) AS v(own_id bigint, {columns})", [json.dumps(content)]
    selected = ", ".join(f"column{n} AS {name}" for n, name in enumerate(names, start=2))
    marks = ", ".join(["(" + ", ".join(["%s"] * (len(fields) + 1)) + ")"] * len(rows))
    given = [value for pk, values in rows for value in (pk, *(f.get_db_prep_save(values[f.name], connection) for f in fields))]
    return f"(SELECT column1 AS own_id, {selected} FROM (VALUES {marks})) AS v", given  # noqa: S608 - identifiers only


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def _quoted(name: str) -> str:
    return str(connection.ops.quote_name(name))


def _column(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    if not isinstance(field, models.Field):
        raise TypeError(f"{model.__name__}.{name} is not a column")
    return field


def _cast_type(field: models.Field[Any, Any]) -> str:
    """A type that refuses what does not fit: a cast to varchar(n) would cut it off in silence."""
    if isinstance(field, models.ForeignKey):
        return str(field.target_field.rel_db_type(connection))
    return "text" if isinstance(field, _WITHOUT_LENGTH) else str(field.cast_db_type(connection))


def locked(
    model: type[Row], ids: Sequence[int], condition: str = "true", parameters: Sequence[Any] = (), *, share: bool = False
) -> list[Row]:
    """Whole rows among `ids` that meet a condition in SQL, in the order of their ids, locked. Needs an open transaction.

    FOR UPDATE; or with `share` FOR SHARE, for which the ORM has no word: others may read and share the rows, nobody may change
    them before this transaction ends. On SQLite the transaction holds the only write lock already.
    """
    table, key = _quoted(model._meta.db_table), _quoted(str(model._meta.pk.column))
    lock = ("FOR SHARE" if share else "FOR UPDATE") if connection.vendor == "postgresql" else ""
    sql = f"SELECT * FROM {table} WHERE {among_ids(key)} AND {condition} ORDER BY {key} {lock}"  # noqa: S608 - identifiers only
    return list(model._default_manager.raw(sql, [id_list(ids), *parameters]))  # noqa: SLF001 - Django's public name
