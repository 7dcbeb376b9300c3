"""A model's columns as SQL: which there are, what they are called, and how a row of the model maps to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db import connection, models


@dataclass(frozen=True, slots=True)
class Columns:
    """A model's columns as SQL and as attributes; in the order of its fields for reading, key first for writing."""

    table: str
    key: str
    selected: str
    names: tuple[str, ...]
    json: tuple[tuple[int, Any], ...]
    key_first: tuple[str, ...]
    names_key_first: tuple[str, ...]
    json_key_first: tuple[int, ...]


@lru_cache(maxsize=64)
def columns_of(model: type[models.Model]) -> Columns:
    fields = model._meta.concrete_fields
    key_first = sorted(fields, key=lambda field: not field.primary_key)
    return Columns(
        table=quoted(model._meta.db_table),
        key=quoted(str(model._meta.pk.column)),
        selected=", ".join(quoted(str(field.column)) for field in fields),
        names=tuple(field.attname for field in fields),
        json=tuple((n, field) for n, field in enumerate(fields) if isinstance(field, models.JSONField)),
        key_first=tuple(quoted(str(field.column)) for field in key_first),
        names_key_first=tuple(field.attname for field in key_first),
        json_key_first=tuple(n for n, field in enumerate(key_first) if isinstance(field, models.JSONField)),
    )


@lru_cache(maxsize=512)
def quoted(name: str) -> str:
    return str(connection.ops.quote_name(name))


@lru_cache(maxsize=512)
def field_of(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    if not isinstance(field, models.Field):
        raise TypeError(f"{model.__name__}.{name} is not a column")
    return field
