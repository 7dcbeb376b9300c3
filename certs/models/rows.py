"""Model rows by the hundred: inserted by COPY, updated in one statement, whatever each row's values are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models.base import ModelState

from audit.unit_of_work import Group, gathering
from db.backend import on_postgresql
from db.json_text import json_encoder
from db.sql import Query, Rows, among_ids, ask, id_list, insert_together, reserve_ids

_WITHOUT_LENGTH = (models.CharField, models.TextField)
Row = TypeVar("Row", bound=models.Model)


def insert_models(*groups: Sequence[models.Model], ids: bool = True) -> None:
    """Insert new rows of several models, in order, in as few statements as can be: within `audit.log.together()` at its end.

    Rows without an id get one then (without `ids` the database numbers them, and nobody here learns how); who needs it before
    calls `give_ids`. A row may refer to another of the same call, or held back before it, that has no id yet.
    """
    filled = [list(group) for group in groups if group]
    if gathering.goes_on():
        gathering.groups += [_held(group, ids=ids) for group in filled]
        return
    for group in filled:
        if ids and _layout(type(group[0])).numbered:
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


def _held(group: Sequence[models.Model], *, ids: bool) -> Group:
    numbered = ids and _layout(type(group[0])).numbered
    fresh = [row for row in group if row.pk is None] if numbered else []
    return Group(group[0]._meta.db_table, len(fresh), partial(_number, fresh), partial(_last_rows, group))


def _rows(group: Sequence[models.Model]) -> Rows:
    """The rows as they are now; from here on they count as inserted."""
    layout = _layout(type(group[0]))
    for field in layout.relations:
        _take_over_ids(group, field)
    numbered = group[0].__dict__[layout.names[0]] is not None
    read = layout.read if numbered else layout.read_unnumbered
    rows: list[Any] = [read(row.__dict__) for row in group]
    for position in layout.json:
        at = position if numbered else position - 1
        rows = [(*row[:at], _json(row[at]), *row[at + 1 :]) for row in rows]
    for row in group:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - Django documents them
    return Rows(layout.table, layout.columns if numbered else layout.columns_unnumbered, rows)


def _last_rows(group: Sequence[models.Model]) -> Rows:
    """The same at the end of a transaction. A row forgets whose only one it is, for the other knows it: rows that refer to each
    other would wait for the collector when nobody needs them any more.
    """
    rows = _rows(group)
    for field in _layout(type(group[0])).relations:
        if field.one_to_one:
            for row in group:
                row._state.fields_cache.pop(field.name, None)  # noqa: SLF001 - as the field's own descriptor does
    return rows


def _take_over_ids(group: Sequence[models.Model], field: models.ForeignKey[Any, Any]) -> None:
    """A row that was built before its parent had an id gets it now."""
    attribute, name = field.attname, field.name
    for row in group:
        content = row.__dict__
        if content[attribute] is None and (parent := row._state.fields_cache.get(name)) is not None:  # noqa: SLF001 - as above
            content[attribute] = parent.pk


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns as SQL, primary key first; the attributes they come from, and how to read them, with and without the key; which of
    them are JSON, for drivers do not guess it; whether the database can number the rows.
    """

    table: str
    columns: str
    columns_unnumbered: str
    names: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Any]
    read_unnumbered: Callable[[Mapping[str, Any]], Any]
    json: tuple[int, ...]
    relations: tuple[models.ForeignKey[Any, Any], ...]
    numbered: bool


@lru_cache(maxsize=64)
def _layout(model: type[models.Model]) -> _Layout:
    fields = sorted(model._meta.concrete_fields, key=lambda field: not field.primary_key)
    columns, names = [_quoted(str(field.column)) for field in fields], tuple(field.attname for field in fields)
    return _Layout(
        table=model._meta.db_table,
        columns=", ".join(columns),
        columns_unnumbered=", ".join(columns[1:]),
        names=names,
        read=itemgetter(*names),
        read_unnumbered=itemgetter(*names[1:]),
        json=tuple(n for n, field in enumerate(fields) if isinstance(field, models.JSONField)),
        relations=tuple(field for field in fields if isinstance(field, models.ForeignKey)),
        numbered=isinstance(model._meta.pk, models.AutoField),
    )


_encode = json_encoder()


def _json(value: Any) -> str | None:
    return None if value is None else _encode(value)


def update_rows(model: type[models.Model], rows: Mapping[int, Mapping[str, Any]], *, only_if: Mapping[str, Any] | None = None) -> set[int]:
    """Write values to many rows, different ones to each, in one statement for each set of columns; answers the ids written.

    `only_if` names columns and the values they must have: a compare-and-set. Rows that two workers may both update must be
    locked in the order of their ids before. (The ORM's bulk_update builds a CASE for each column: twenty times slower.)
    """
    written: set[int] = set()
    key = _quoted(str(model._meta.pk.column))
    for columns, group in _by_columns(rows).items():
        sql, parameters = _update_query(model, columns, group, only_if or {})
        (answer,) = ask((f"{sql} RETURNING {_quoted(model._meta.db_table)}.{key}", parameters))
        written |= {row[0] for row in answer}
    return written


def update_later(model: type[models.Model], rows: Mapping[int, Mapping[str, Any]], *, only_if: Mapping[str, Any] | None = None) -> None:
    """The same for rows that nobody else can change now, because of locks that this transaction holds, so that no answer is
    needed: within `audit.log.together()` they are written at its end.
    """
    for columns, group in _by_columns(rows).items():
        query = _update_query(model, columns, group, only_if or {})
        if gathering.goes_on():
            gathering.groups.append(Group(model._meta.db_table, 0, lambda _ids: None, partial(_as_it_is, query)))
        else:
            insert_together([query])


def _as_it_is(query: Query) -> Query:
    return query


def _by_columns(rows: Mapping[int, Mapping[str, Any]]) -> dict[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]]:
    by_columns: dict[tuple[str, ...], list[tuple[int, Mapping[str, Any]]]] = {}
    for pk, values in sorted(rows.items()):  # of two workers on the same rows, both meet them in the same order
        by_columns.setdefault(tuple(values), []).append((pk, values))
    return by_columns


def _update_query(
    model: type[models.Model], columns: Sequence[str], rows: list[tuple[int, Mapping[str, Any]]], only_if: Mapping[str, Any]
) -> Query:
    first = rows[0][1]
    shared = [name for name in columns if all(values[name] == first[name] for _, values in rows)]
    own = [name for name in columns if name not in shared]
    fields = {name: _column(model, name) for name in (*columns, *only_if)}
    table, key = _quoted(model._meta.db_table), _quoted(str(model._meta.pk.column))
    assignments = [f"{_quoted(str(fields[name].column))} = %s" for name in shared]
    parameters = [_bound(fields[name], first[name]) for name in shared]
    marks = {name: "IS NULL" if value is None else "= %s" for name, value in only_if.items()}
    conditions = [f"{table}.{_quoted(str(fields[name].column))} {mark}" for name, mark in marks.items()]
    compared = [_bound(fields[name], value) for name, value in only_if.items() if value is not None]
    if own:
        source, given = _values([fields[name] for name in own], rows)
        assignments += [f"{_quoted(str(fields[name].column))} = v.{_quoted(str(fields[name].column))}" for name in own]
        tail, bound = f"FROM {source} WHERE {table}.{key} = v.own_id", given
    else:
        tail, bound = f"WHERE {among_ids(f'{table}.{key}')}", [id_list([pk for pk, _ in rows])]
    where = "".join(f" AND {condition}" for condition in conditions)
    return f"UPDATE {table} SET {', '.join(assignments)} {tail}{where}", [*parameters, *bound, *compared]  # noqa: S608 - identifiers only


def _values(fields: Sequence[models.Field[Any, Any]], rows: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[str, list[Any]]:
    """A table `v` of the rows' own values: from one JSON parameter on PostgreSQL, as VALUES on SQLite (it has no bytes in JSON)."""
    names = [_quoted(str(field.column)) for field in fields]
    if on_postgresql():
        content = [{"own_id": pk} | {str(f.column): _in_json(values[f.name]) for f in fields} for pk, values in rows]
        columns = ", ".join(f"{name} {_cast_type(field)}" for name, field in zip(names, fields, strict=True))
        return f"jsonb_to_recordset(CAST(%s AS jsonb)) AS v(own_id bigint, {columns})", [_encode(content)]
    selected = ", ".join(f"column{n} AS {name}" for n, name in enumerate(names, start=2))
    marks = ", ".join(["(" + ", ".join(["%s"] * (len(fields) + 1)) + ")"] * len(rows))
    given = [value for pk, values in rows for value in (pk, *(_bound(f, values[f.name]) for f in fields))]
    return f"(SELECT column1 AS own_id, {selected} FROM (VALUES {marks})) AS v", given  # noqa: S608 - identifiers only


def _bound(field: models.Field[Any, Any], value: Any) -> Any:
    """As the driver takes it. psycopg knows every type of ours but JSON's, which may be a text or a list of anything."""
    if on_postgresql() and not isinstance(field, models.JSONField):
        return value
    return field.get_db_prep_save(value, connection)


def _in_json(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


@lru_cache(maxsize=512)
def _quoted(name: str) -> str:
    return str(connection.ops.quote_name(name))


@lru_cache(maxsize=512)
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
    key = _quoted(str(model._meta.pk.column))
    lock = ("FOR SHARE" if share else "FOR UPDATE") if on_postgresql() else ""
    sql, given = select_query(model, f"{among_ids(key)} AND {condition} ORDER BY {key} {lock}", [id_list(ids), *parameters])
    return instances(model, ask((sql, given))[0])


def select_query(model: type[models.Model], condition: str, parameters: Sequence[Any]) -> Query:
    """For `ask`: whole rows of a model that meet a condition in SQL; `instances` makes objects of them."""
    return f"SELECT {', '.join(_reading(model).columns)} FROM {_quoted(model._meta.db_table)} WHERE {condition}", parameters  # noqa: S608


def instances(model: type[Row], rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Objects of rows that `select_query` asked for. (The ORM's raw() costs several times as much for a few rows.)"""
    reading, made = _reading(model), []
    for row in rows:
        values = list(row)
        for position, column, convert in reading.converters:
            values[position] = convert(values[position], column, connection)
        made.append(_bare(model, dict(zip(reading.names, values, strict=True)), adding=False))
    return made


def new(model: type[Row], **values: Any) -> Row:
    """What `model(**values)` makes, at a fifth of its price: nobody listens to our models' init signals.

    `values` go by field name; a foreign key's parent may lack an id until both are inserted together.
    """
    plan = _new_plan(model)
    row = _bare(model, {**plan.values, **values} if not plan.functions else _with_defaults(plan, values), adding=True)
    content, cache = row.__dict__, row._state.fields_cache  # noqa: SLF001 - as the field's own descriptor does
    for name, attribute, other_side in plan.relations:
        if name in content:
            value = cache[name] = content.pop(name)
            content[attribute] = None if value is None else value.pk
            if other_side and value is not None:  # a one-to-one relation is known there too
                value._state.fields_cache[other_side] = row  # noqa: SLF001
    return row


def _with_defaults(plan: _NewPlan, values: Mapping[str, Any]) -> dict[str, Any]:
    return {**plan.values, **{name: make() for name, make in plan.functions if name not in values}, **values}


def _bare(model: type[Row], values: dict[str, Any], *, adding: bool) -> Row:
    row = model.__new__(model)
    state = ModelState()
    state.adding, state.db = adding, None if adding else DEFAULT_DB_ALIAS
    values["_state"] = state
    row.__dict__ = values  # its own: the callers make a dict for each row
    return row


@dataclass(frozen=True, slots=True)
class _NewPlan:
    values: Mapping[str, Any]  # by attribute: defaults that are the same each time
    functions: tuple[tuple[str, Callable[[], Any]], ...]
    relations: tuple[tuple[str, str, str], ...]  # field, attribute, and what a one-to-one parent calls its child


@lru_cache(maxsize=64)
def _new_plan(model: type[models.Model]) -> _NewPlan:
    fields = model._meta.concrete_fields
    made_each_time = [field for field in fields if field.has_default() and callable(field.default)]
    return _NewPlan(
        values={field.attname: None if field in made_each_time else field.get_default() for field in fields},
        functions=tuple((field.attname, field.default) for field in made_each_time),
        relations=tuple(
            (field.name, field.attname, field.remote_field.cache_name if field.one_to_one else "")
            for field in fields
            if isinstance(field, models.ForeignKey)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    columns: tuple[str, ...]
    names: tuple[str, ...]
    converters: tuple[tuple[int, Any, Callable[[Any, Any, Any], Any]], ...]  # position, column expression, function


@lru_cache(maxsize=64)
def _reading(model: type[models.Model]) -> _Reading:
    fields = model._meta.concrete_fields
    columns = [field.get_col(model._meta.db_table) for field in fields]
    return _Reading(
        columns=tuple(_quoted(str(field.column)) for field in fields),
        names=tuple(field.attname for field in fields),
        converters=tuple(
            (n, column, convert)
            for n, column in enumerate(columns)
            for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
        ),
    )
