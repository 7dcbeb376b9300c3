"""Counting for pages, and many ids as one parameter."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from db import counting
from db.backend import on_postgresql
from db.counting import Count, Few, Plan, count, count_as_planned, count_together, few, few_counted, plan_of
from db.sql import among

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def ten() -> list[int]:
    accounts = get_user_model()
    return [accounts.objects.create_user(f"user-{number}").pk for number in range(10)]


def test_counts_are_exact_up_to_the_bound_and_above_it_what_the_planner_expects(ten: list[int]) -> None:
    rows = get_user_model().objects.filter(pk__in=ten)
    assert count(rows, most=10) == Count(10, exact=True)
    above = count(rows, most=9)
    assert (above.exact, above.number >= 9) == (False, True)
    assert count(rows.filter(pk__in=[])) == Count(0, exact=True)


def test_what_is_expected_to_be_far_more_is_not_counted(ten: list[int], django_assert_num_queries: DjangoAssertNumQueries) -> None:
    rows = get_user_model().objects.all()
    with django_assert_num_queries(0):
        assert count_as_planned(rows, Plan(rows=1_000, cost=1e6), most=10) == Count(1_000, exact=False)
        assert few(rows, Plan(rows=1_000, cost=1.0), most=10) == Few(None)
    assert count_as_planned(rows.filter(pk__in=ten), Plan(rows=1_000, cost=1.0), most=10) == Count(10, exact=True)
    assert sorted(few(rows.filter(pk__in=ten), Plan(rows=3, cost=1.0), most=10).ids or ()) == ten
    assert few(rows.filter(pk__in=ten), Plan(rows=3, cost=1.0), most=9) == Few(None)


def test_one_statement_finds_the_ids_of_few_rows_and_counts_more_up_to_a_bound(
    ten: list[int], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rows = get_user_model().objects.filter(pk__in=ten)
    with django_assert_num_queries(1):
        found = few_counted(rows, Plan(), most=10, counted=20)
    assert (sorted(found.ids or ()), found.number) == (ten, 10)
    assert few_counted(rows, Plan(), most=9, counted=20) == Few(None, number=10)
    assert few_counted(rows, Plan(), most=3, counted=6) == Few(None, number=7)
    expected = Plan(rows=100)
    assert few_counted(rows, expected, most=3, counted=6) == Few(None, number=7)
    assert sorted(few_counted(rows, expected, most=10, counted=20).ids or ()) == ten  # although many were expected
    assert few_counted(rows.filter(username="nobody"), Plan(), most=3, counted=6) == Few([], number=0)
    with django_assert_num_queries(0):
        assert few_counted(rows.none(), Plan(), most=3, counted=6) == Few([], number=0)
        assert few_counted(rows, Plan(rows=1_000_000, cost=1e6), most=10, counted=20) == Few(None)


@pytest.mark.skipif(not on_postgresql(), reason="SQLite has no limit of time for a statement")
def test_a_count_that_takes_too_long_ends_and_leaves_the_transaction_usable(ten: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MILLISECONDS", 20)
    slow = get_user_model().objects.extra(where=["pg_sleep(0.01) IS NOT NULL"])
    assert count_as_planned(slow, Plan(rows=7, cost=1e9), most=1_000) == Count(7, exact=False)
    assert count(get_user_model().objects.filter(pk__in=ten)) == Count(10, exact=True)


@pytest.mark.skipif(not on_postgresql(), reason="SQLite has no settings of a planner")
def test_settings_of_a_search_end_with_it_within_a_transaction_too(ten: list[int]) -> None:
    names = ("statement_timeout", "jit", "random_page_cost", "enable_hashjoin")

    def settings() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
            return list(cursor.fetchone())

    def seen(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "count(*)" in sql:
            within.append(settings())
        return execute(sql, params, many, context)

    within: list[list[str]] = []
    before = settings()
    rows = get_user_model().objects.filter(pk__in=ten)
    with connection.execute_wrapper(seen):
        few_counted(rows, Plan(cost=1e6), most=10, counted=20, without="enable_hashjoin")
    assert within == [["60ms", "off", "2", "off"]]
    assert settings() == before


def test_several_lists_are_counted_in_one_statement(ten: list[int], django_assert_num_queries: DjangoAssertNumQueries) -> None:
    accounts = get_user_model().objects.filter(pk__in=ten)
    group = Group.objects.create(name="x")
    with django_assert_num_queries(1):
        assert count_together([accounts, Group.objects.filter(pk=group.pk), accounts.none()], most=100) == 11
    if on_postgresql():
        assert count_together([accounts, accounts], most=4) == 8
    assert count_together([], most=4) == 0


def test_many_ids_are_one_parameter(ten: list[int]) -> None:
    rows = get_user_model().objects.filter(among("pk", ten[:3]))
    assert sorted(rows.values_list("pk", flat=True)) == ten[:3]
    assert sorted(get_user_model().objects.filter(pk__in=ten).exclude(among("pk", ten[:3])).values_list("pk", flat=True)) == ten[3:]
    assert not get_user_model().objects.filter(among("pk", [])).exists()
    assert plan_of(rows).rows >= 0
