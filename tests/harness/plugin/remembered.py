"""What many tests begin with is made by the product's own code, remembered, and written back as rows afterwards.

A portal with a CA, a policy and its people takes some thousand statements to make, and thousands of tests begin with one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction


@dataclass(frozen=True)
class _Written:
    """What was written into one table, as PostgreSQL writes a row as text."""

    new: list[str]
    gone: list[str]  # rows that were changed or deleted, as they were


KEPT_SECONDS = 20
_SETTINGS = ("CA_CLIENTS", "KEY_BACKENDS", "DATABASES", "TIME_ZONE")

_seen: Counter[str] = Counter()
_known: dict[str, tuple[float, dict[str, _Written]]] = {}


def remembered(name: str, make: Callable[[], None]) -> None:
    """Call `make`; from the third time on in this process, write the rows that it wrote the second time.

    A time counts under the same settings only: a test may change them before, and only what comes again is worth reading
    back. Where a row that `make` changed is not what it was then, `make` is called as if it were the second time.
    So it is after some seconds, for an alarm about what has waited for a minute must not see rows of the past.
    The rows keep their ids: a sequence never gives one again. On SQLite `make` is called each time.
    """
    key = name + _circumstances()
    _seen[key] += 1
    made_at, known = _known.get(key, (0.0, {}))
    if connection.vendor != "postgresql" or _seen[key] == 1:
        make()
    elif time.monotonic() - made_at > KEPT_SECONDS or not all(_holds(table, written.gone) for table, written in known.items()):
        before = _contents()
        make()
        _known[key] = time.monotonic(), _difference(before, _contents())
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            for table, written in known.items():
                quoted = connection.ops.quote_name(table)
                if written.gone:
                    cursor.execute(f"DELETE FROM {quoted} AS t WHERE t::text = ANY(%s)", [written.gone])
                cursor.execute(f"INSERT INTO {quoted} SELECT t.* FROM unnest(%s::text[]::{quoted}[]) AS t", [written.new])
        ContentType.objects.clear_cache()


def forget_what_was_remembered() -> None:
    """After a `flush`: what `migrate` writes has new ids, and rows that refer to the old ones are of no use."""
    _known.clear()


def _circumstances() -> str:
    """Return the portal's settings as text."""
    return repr([(name, getattr(settings, name)) for name in dir(settings) if name.startswith("PKI_") or name in _SETTINGS])


def _contents() -> dict[str, Counter[str]]:
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            cursor.execute(f"SELECT t::text FROM {connection.ops.quote_name(table)} AS t")
            found[table] = Counter(row for (row,) in cursor.fetchall())
    return found


def _difference(before: dict[str, Counter[str]], after: dict[str, Counter[str]]) -> dict[str, _Written]:
    changed = [table for table, rows in after.items() if rows != before[table]]
    return {
        table: _Written(new=[*(after[table] - before[table]).elements()], gone=[*(before[table] - after[table]).elements()])
        for table in changed
    }


def _holds(table: str, rows: list[str]) -> bool:
    if not rows:
        return True
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)} AS t WHERE t::text = ANY(%s)", [rows])
        return bool(cursor.fetchone()[0] == len(rows))
