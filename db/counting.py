"""Counting for pages: exact up to a bound and for a bounded time, else the planner's estimate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import OperationalError, connection, models, transaction

from db.backend import on_postgresql

Result = TypeVar("Result")
MOST_EXACT = 100_000
MILLISECONDS = 100  # of one count; a page costs less than twice that


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows there are. `exact` is false for an estimate."""

    number: int
    exact: bool


def count(rows: models.QuerySet[Any], *, most: int = MOST_EXACT) -> Count:
    """Count rows up to `most`. Above that, or where counting takes too long, estimate.

    An estimate comes from the statistics of PostgreSQL. SQLite has none and no limit of time:
    there the bound itself is returned, as a number that is not exact.
    """
    bounded = rows.order_by().values("pk")[: most + 1]
    found = _in_time(bounded.count)
    if found is None:
        return Count(_estimate(rows), exact=False)
    if found <= most:
        return Count(found, exact=True)
    return Count(max(most, _estimate(rows)) if on_postgresql() else most, exact=False)


def few(rows: models.QuerySet[Any], *, most: int) -> list[int] | None:
    """Return the ids of the rows, in no order, where there are at most so many; None for more.

    None also where the search for them takes too long on PostgreSQL.
    """
    found = _in_time(lambda: list(rows.order_by().values_list("pk", flat=True)[: most + 1]))
    return found if found is not None and len(found) <= most else None


def _in_time(read: Callable[[], Result]) -> Result | None:
    """Return what a query returns; None where PostgreSQL needs more than MILLISECONDS for it."""
    if not on_postgresql():
        return read()
    nested = connection.in_atomic_block
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # The setting ends with the transaction; within another one it is put back, or ends
            # with the savepoint that is rolled back.
            before = "0"
            if nested:
                cursor.execute("SELECT current_setting('statement_timeout')")
                (before,) = cursor.fetchone()
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(MILLISECONDS)])
            found = read()
            if nested:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])
    except OperationalError as exc:
        if getattr(exc.__cause__, "sqlstate", "") != _CANCELLED:
            raise
        return None
    return found


_CANCELLED = "57014"  # query_canceled: the time was over


def _estimate(rows: models.QuerySet[Any]) -> int:
    """Return how many rows the planner expects."""
    (plan,) = json.loads(rows.order_by().values("pk").explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])
