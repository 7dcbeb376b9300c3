"""Counting for pages: exact up to a bound and for a bounded time, else the planner's estimate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connection, models, transaction
from django.db.models import Count as Number
from django.db.models import Window

from db.backend import on_postgresql
from db.sql import numbers_collected, numbers_result

Result = TypeVar("Result")
MOST_EXACT = 100_000
MILLISECONDS = 60  # of one count; a page has two at most
_CHEAP = 2_000  # of the planner's cost: some ten milliseconds
FAR_MORE = 1.25  # the planner is rarely wrong by so much


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows there are. `exact` is false for an estimate; `over`: that they are more than MOST_EXACT is known."""

    number: int
    exact: bool
    over: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planner of PostgreSQL expects of a query: how many rows, and at what cost.

    On SQLite, which has no such figures: as if there were nothing.
    """

    rows: int = 0
    cost: float = 0.0


def plan_of(rows: models.QuerySet[Any]) -> Plan:
    """Return what the planner expects of reading the ids of all these rows. Takes less than a millisecond."""
    if not on_postgresql():
        return Plan()
    text = rows.order_by().values("pk").explain(format="json")
    if not text:  # Django knows that there is none, and asks nothing
        return Plan()
    (plan,) = json.loads(text)
    return Plan(int(plan["Plan"]["Plan Rows"]), float(plan["Plan"]["Total Cost"]))


def count(rows: models.QuerySet[Any], *, most: int = MOST_EXACT) -> Count:
    """Count rows up to `most`. Above that, or where counting takes too long, estimate (`count_as_planned`)."""
    return count_as_planned(rows, plan_of(rows), most=most)


def count_as_planned(rows: models.QuerySet[Any], plan: Plan, *, most: int = MOST_EXACT) -> Count:
    """Return what `count` returns, of rows whose plan is known.

    An estimate comes from the statistics of PostgreSQL. Rows of which they expect far more than
    `most` are not counted in vain, unless counting costs nothing: the statistics of a small table
    can be old. SQLite has none and no limit of time: there the bound itself is returned, as a
    number that is not exact.
    """
    if plan.rows > FAR_MORE * most and plan.cost >= _CHEAP:
        return Count(plan.rows, exact=False)
    found = in_time(rows.order_by().values("pk")[: most + 1].count, plan)
    if found is None:
        return Count(plan.rows, exact=False)
    if found <= most:
        return Count(found, exact=True)
    return Count(max(most, plan.rows), exact=False, over=most >= MOST_EXACT)


def count_together(lists: Sequence[models.QuerySet[Any]], *, most: int) -> int:
    """Return how many rows these lists have together, each counted up to `most`, in one statement.

    SQLite cannot bound the parts of a union: there each is counted whole.
    """
    parts = [rows.order_by().values_list("pk") for rows in lists]
    if on_postgresql():
        parts = [rows[:most] for rows in parts]
    if not parts:
        return 0
    return int(parts[0].union(*parts[1:], all=True).count())


@dataclass(frozen=True, slots=True)
class Few:
    """The ids of rows where they are few, else None. `in_time` is false where the search for them took too long.

    `number` is how many there are, where the search has counted them: up to one more than its bound.
    """

    ids: list[int] | None
    in_time: bool = True
    number: int | None = None


def with_total(rows: models.QuerySet[Any], plan: Plan, columns: Sequence[str], *, most: int) -> list[Any] | None:
    """Return the first `most` of ordered rows, each with these columns and last the number of all rows.

    One pass over the rows finds both; a list that is counted and shown would be read twice. For rows
    that are sorted anyway: what follows an index to its first rows is faster without the count. None
    where PostgreSQL needs too long.
    """
    found: Any = rows.annotate(total_now=Window(Number("pk"))).values_list(*columns, "total_now")  # types know no `total_now`
    return in_time(lambda: list(found[:most]), plan)


def few(rows: models.QuerySet[Any], plan: Plan, *, most: int) -> Few:
    """Return the ids of the rows, in no order, where there are at most so many.

    Without ids also where PostgreSQL expects far more, or where the search for them takes too long.
    """
    if plan.rows > FAR_MORE * most:
        return Few(None)
    found = in_time(lambda: list(rows.order_by().values_list("pk", flat=True)[: most + 1]), plan)
    if found is None:
        return Few(None, in_time=False)
    return Few(found if len(found) <= most else None)


def few_counted(rows: models.QuerySet[Any], plan: Plan, *, most: int, counted: int, without: str = "") -> Few:
    """Return the ids of the rows, in no order, where there are at most `most`, and their number up to one more than `counted`.

    One pass finds both, and ends at that bound: rows that no index has are looked at once. Neither
    is looked for where PostgreSQL expects far more than MOST_EXACT, at a cost. `without` names a
    setting of the planner that is off meanwhile, such as `enable_hashjoin`.
    """
    if plan.rows > FAR_MORE * MOST_EXACT and plan.cost >= _CHEAP:
        return Few(None)
    sliced = rows.order_by().values_list("pk")[: counted + 1]
    if plan.rows > FAR_MORE * counted:  # counted alone: an index that has no ids can do so
        number = in_time(sliced.count, plan)
        if number is None or number > most:
            return Few(None, in_time=number is not None, number=number)
        if not number:
            return Few([], number=0)
    try:
        sql, parameters = sliced.query.sql_with_params()
    except EmptyResultSet:  # Django knows that there is none
        return Few([], number=0)
    collected = numbers_collected("found.pk")
    text = f"SELECT count(*), CASE WHEN count(*) <= {most} THEN {collected} END FROM ({sql}) AS found"  # noqa: S608 - Django's own SQL

    def read() -> tuple[int, Any]:
        with connection.cursor() as cursor:
            cursor.execute(text, parameters)
            number, ids = cursor.fetchone()
        return number, ids

    found = in_time(read, plan, without)
    if found is None:
        return Few(None, in_time=False)
    number, ids = found
    return Few(numbers_result(ids) if number <= most else None, number=number)


def in_time(read: Callable[[], Result], plan: Plan, without: str = "", *, milliseconds: int = MILLISECONDS) -> Result | None:
    """Return what a query returns; None where PostgreSQL needs more than so many milliseconds for it.

    A query that is expected to be cheap is read without the limit, which takes three statements.
    `without` names a setting of the planner that is off meanwhile.
    """
    if plan.cost < _CHEAP:
        return read()
    nested = connection.in_atomic_block
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # The setting ends with the transaction; within another one it is put back, or ends
            # with the savepoint that is rolled back.
            #
            # Compiling such a query takes longer than the time that it may take. What is read in that
            # time is in memory: an index that has all columns is read sooner than its table, which at
            # the cost of pages on a disk is preferred.
            values = {"statement_timeout": str(milliseconds), "jit": "off", "random_page_cost": "2"}
            if without:
                values[without] = "off"
            before: Sequence[str] = ()
            if nested:
                cursor.execute("SELECT " + ", ".join(f"current_setting('{one}')" for one in values))
                before = cursor.fetchone()
            change = "SELECT " + ", ".join(f"set_config('{one}', %s, true)" for one in values)
            cursor.execute(change, list(values.values()))
            found = read()
            if nested:
                cursor.execute(change, before)
    except OperationalError as exc:
        if getattr(exc.__cause__, "sqlstate", "") != _CANCELLED:
            raise
        return None
    return found


_CANCELLED = "57014"  # query_canceled: the time was over
