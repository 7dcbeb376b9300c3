"""Rows of keys by the hundred: claimed in one statement, confirmed in one, read by what they were claimed for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, models

from db.backend import on_postgresql
from db.sql import among_texts, text_list
from keys.models import Key


def insert_claims(keys: Sequence[Key]) -> set[str]:
    """Insert those whose name, version and claim nobody has; answers what the inserted ones were claimed for.

    In the order of their names, so that two batches that want the same ones cannot wait for each other.
    """
    ordered = sorted(keys, key=lambda key: (key.backend, key.name, key.version))
    fields = Key._meta.concrete_fields
    names = [(str(field.column), field.attname) for field in fields]
    content = _json([{column: getattr(key, name) for column, name in names} for key in ordered])
    columns = ", ".join(str(f.column) for f in fields)
    if on_postgresql():
        source = f"SELECT {columns} FROM jsonb_populate_recordset(CAST(NULL AS keys_key), CAST(%s AS jsonb))"  # noqa: S608 - identifiers
    else:
        picked = ", ".join(f"json_extract(value, '$.{f.column}')" for f in fields)
        source = f"SELECT {picked} FROM json_each(%s) WHERE true"  # noqa: S608 - identifiers only
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO keys_key ({columns}) {source} ON CONFLICT DO NOTHING RETURNING claimed_for",
            [content],
        )
        return {row[0] for row in cursor.fetchall()}


def claimed_keys(claimed_for: Iterable[str]) -> dict[str, Key]:
    """The rows of these claims, as far as there are any."""
    rows = Key.objects.raw(f"SELECT * FROM keys_key WHERE {among_texts('claimed_for')}", [text_list(claimed_for)])  # noqa: S608 - a constant
    return {key.claimed_for: key for key in rows}


def update_keys(keys: Sequence[Key], names: Sequence[str]) -> None:
    """Write these fields of each row, which must be locked. (The ORM's bulk_update builds a CASE for each column.)"""
    if not keys:
        return
    fields = [field for field in Key._meta.concrete_fields if field.name in names]
    if on_postgresql():
        content = _json([{"id": key.pk} | {str(f.column): getattr(key, f.attname) for f in fields} for key in keys])
        columns = ", ".join(str(f.column) for f in fields)
        values = ", ".join(f"v.{f.column}" for f in fields)
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE keys_key SET ({columns}) = ROW({values}) "  # noqa: S608 - identifiers only
                "FROM jsonb_populate_recordset(CAST(NULL AS keys_key), CAST(%s AS jsonb)) AS v WHERE keys_key.id = v.id",
                [content],
            )
        return
    assignments = ", ".join(f"{f.column} = %s" for f in fields)
    rows = [[*(_saved(f, key) for f in fields), key.pk.hex] for key in keys]
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE keys_key SET {assignments} WHERE id = %s", rows)  # noqa: S608 - identifiers only


def _saved(field: models.Field[Any, Any], key: Key) -> Any:
    return field.get_db_prep_save(getattr(key, field.attname), connection)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON whose values the database reads back as its own types."""
    return json.dumps(rows, default=_on_sqlite if not on_postgresql() else _on_postgresql)


def _on_postgresql(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        return "\\x" + bytes(value).hex()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _on_sqlite(value: Any) -> str:
    return value.hex if isinstance(value, UUID) else str(connection.ops.adapt_datetimefield_value(value))
