"""What many tests begin with is made by the product's own code, remembered, and written back as rows afterwards.

A portal with a CA, a policy and its people takes some thousand statements to make, and thousands of tests begin with one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction


@dataclass(frozen=True)
class _Written:
    """What was written into one table. A row is text on PostgreSQL and its values on SQLite."""

    before: Counter[Any]
    new: list[Any]
    gone: list[Any]  # rows that were changed or deleted, as they were


KEPT_SECONDS = 20
_SETTINGS = ("CA_CLIENTS", "KEY_BACKENDS", "DATABASES", "TIME_ZONE")

_seen: Counter[str] = Counter()
_known: dict[str, tuple[float, dict[str, _Written]]] = {}


def remembered(name: str, make: Callable[[], None]) -> None:
    """Call `make`; from the third time on in this process, write the rows that it wrote the second time.

    A time counts under the same settings only: a test may change them before, and only what comes again is worth reading
    back. Where a row that `make` changed is not what it was then, `make` is called as if it were the second time.
    So it is after some seconds, for an alarm about what has waited for a minute must not see rows of the past.
    The rows keep their ids: a sequence of PostgreSQL never gives one again. SQLite's does after a rollback, so there `make` is
    called where its tables hold anything else than they did.
    """
    key = name + _circumstances()
    _seen[key] += 1
    made_at, known = _known.get(key, (0.0, {}))
    if _seen[key] == 1:
        make()
    elif time.monotonic() - made_at > KEPT_SECONDS or not all(_as_then(table, written) for table, written in known.items()):
        before = _contents()
        make()
        _known[key] = time.monotonic(), _difference(before, _contents())
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            for table, written in known.items():
                _write(cursor, table, written)
        ContentType.objects.clear_cache()


def forget_what_was_remembered() -> None:
    """After a `flush`: what `migrate` writes has new ids, and rows that refer to the old ones are of no use."""
    _known.clear()


def _circumstances() -> str:
    """Return the portal's settings as text."""
    return repr([(name, getattr(settings, name)) for name in dir(settings) if name.startswith("PKI_") or name in _SETTINGS])


@cache
def _columns(table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pragma_table_info(%s) ORDER BY cid", [table])
        return [connection.ops.quote_name(name) for (name,) in cursor.fetchall()]


def _rows(table: str) -> Counter[Any]:
    quoted = connection.ops.quote_name(table)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SELECT t::text FROM {quoted} AS t")
            return Counter(row for (row,) in cursor.fetchall())
        values = ", ".join(f"+{name}" for name in _columns(table))  # of an expression Python's driver converts nothing
        cursor.execute(f"SELECT {values} FROM {quoted}")
        return Counter(cursor.fetchall())


def _write(cursor: Any, table: str, written: _Written) -> None:
    quoted = connection.ops.quote_name(table)
    if connection.vendor == "postgresql":
        if written.gone:
            cursor.execute(f"DELETE FROM {quoted} AS t WHERE t::text = ANY(%s)", [written.gone])
        cursor.execute(f"INSERT INTO {quoted} SELECT t.* FROM unnest(%s::text[]::{quoted}[]) AS t", [written.new])
        return
    same = " AND ".join(f"{name} IS %s" for name in _columns(table))
    cursor.executemany(f"DELETE FROM {quoted} WHERE {same}", written.gone)
    cursor.executemany(f"INSERT INTO {quoted} VALUES ({', '.join('%s' for _ in _columns(table))})", written.new)


def _contents() -> dict[str, Counter[Any]]:
    return {table: _rows(table) for table in connection.introspection.django_table_names(only_existing=True, include_views=False)}


def _difference(before: dict[str, Counter[Any]], after: dict[str, Counter[Any]]) -> dict[str, _Written]:
    return {
        table: _Written(before[table], new=[*(rows - before[table]).elements()], gone=[*(before[table] - rows).elements()])
        for table, rows in after.items()
        if rows != before[table]
    }


def _as_then(table: str, written: _Written) -> bool:
    """Return whether what was written can be written again."""
    if connection.vendor != "postgresql":
        return _rows(table) == written.before
    if not written.gone:
        return True
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)} AS t WHERE t::text = ANY(%s)", [written.gone])
        return bool(cursor.fetchone()[0] == len(written.gone))
