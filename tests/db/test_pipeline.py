"""Statements in one round trip, prepared once they are used often; lost connections are noticed and replaced."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import DataError, IntegrityError, NotSupportedError, OperationalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext

from db.pipeline import MOST_KEPT_ROWS, PREPARE_AFTER, Statement, keep_plans, run
from db.sql import fetch_first
from tests.portal.threads import in_thread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose"),
]

SESSION = "SELECT pg_backend_pid()"


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: a connection is kept between two calls, and checked before it is used again."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    connection.close()


def session() -> int:
    ((pid,),) = fetch_first(SESSION)
    return int(pid)


def next_call() -> None:
    """What Django does between two calls."""
    connection.close_if_unusable_or_obsolete()


def lose_session() -> None:
    def end(pid: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.close()

    lost = session()
    in_thread(lambda: end(lost)).join(30)


def lose_session_and_ask() -> None:
    lose_session()
    session()


def test_kept_connection_answers_without_a_check_of_its_own() -> None:
    kept_session = session()
    next_call()
    with CaptureQueriesContext(connection) as statements:
        assert session() == kept_session
        with connection.cursor() as cursor:
            cursor.execute("SELECT 2")
    assert len(statements) == 2


@pytest.mark.parametrize("times_asked", [0, 1, 2, 3], ids=lambda n: f"{n} times")
def test_lost_connection_is_replaced_and_the_question_answered(times_asked: int) -> None:
    """Whether the statement was prepared on the lost connection or not."""
    for _ in range(times_asked):
        session()
    lost = session()
    lose_session()
    next_call()
    assert session() != lost


def test_question_that_is_at_fault_is_asked_once() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY SEQUENCE times")
    next_call()
    with pytest.raises(DataError):
        fetch_first("SELECT nextval('times') / 0")
    assert fetch_first("SELECT nextval('times')") == [(2,)]


def test_connection_lost_in_a_transaction_fails() -> None:
    """What was done in it is lost with it, so nothing may go on in its place."""
    with pytest.raises(OperationalError), transaction.atomic():
        lose_session_and_ask()
    next_call()
    assert session() > 0  # the next call begins with a new one


def test_no_connection_yet_is_made() -> None:
    connection.close()
    assert session() > 0


def name_of(number: int) -> Statement:
    return "SELECT name FROM auth_group WHERE id = %s AND name <> 'of this test'", [number]


def prepared() -> int:
    """Statements that this session has prepared, other than this one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%of this test%%'")
        return int(cursor.fetchone()[0])


def test_statement_that_is_used_often_is_prepared_once() -> None:
    for times in range(PREPARE_AFTER):
        run([name_of(times)])
    assert prepared() == 0
    run([name_of(1), name_of(2)])
    run([name_of(3)])
    assert prepared() == 1


def test_behind_a_pooler_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    for times in range(3 * PREPARE_AFTER):
        run([name_of(times)])
    assert prepared() == 0


def test_results_come_in_the_order_of_the_statements() -> None:
    results = run(
        [
            ("INSERT INTO auth_group (name) VALUES (%s), (%s)", ["t-a", "t-it's 100% \\ sure"]),
            ("SELECT name FROM auth_group WHERE name LIKE 't-%%' ORDER BY 1", []),
        ]
    )
    assert results == [([], 2), ([("t-a",), ("t-it's 100% \\ sure",)], 2)]


def test_first_fault_is_raised_as_djangos_and_spoils_nothing_after_it() -> None:
    for times in range(2 * PREPARE_AFTER):  # prepared or not
        with pytest.raises(ProgrammingError, match="no_such_column"):
            run([name_of(times), ("SELECT no_such_column FROM auth_group", []), name_of(times)])
        assert run([name_of(times)]) == [([], 0)]


def test_fault_in_a_transaction_rolls_it_back() -> None:
    insert: Statement = ("INSERT INTO auth_group (name) VALUES (%s)", ["t-a"])
    with pytest.raises(IntegrityError), transaction.atomic():
        run([insert, insert])
    assert not Group.objects.filter(name="t-a").exists()
    assert not connection.in_atomic_block


def test_parameter_that_cannot_be_written_spoils_nothing_after_it() -> None:
    for times in range(2 * PREPARE_AFTER):
        with pytest.raises((psycopg.DataError, DataError), match="NUL"):
            run([name_of(times), ("SELECT name FROM auth_group WHERE name = %s", ["a\x00b"])])
        assert run([name_of(times)]) == [([], 0)]


class TimeIsUp(Exception):
    pass


@contextmanager
def alarm_in(seconds: float) -> Iterator[None]:
    def time_is_up(*_: Any) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, time_is_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("within_a_transaction", [False, True])
@pytest.mark.parametrize("statements", [1, 2])
def test_time_limit_while_the_server_works_spoils_nothing_after_it(*, within_a_transaction: bool, statements: int) -> None:
    """As Celery's soft time limit does: an exception out of nowhere."""

    def sleep() -> None:
        with transaction.atomic() if within_a_transaction else nullcontext():
            run([("INSERT INTO auth_group (name) VALUES (%s)", ["t-a"])])
            run([("SELECT pg_sleep(%s)", [2])] * statements)

    with pytest.raises(TimeIsUp), alarm_in(0.3):
        sleep()
    assert Group.objects.filter(name="t-a").exists() is not within_a_transaction
    assert run([name_of(1)]) == [([], 0)]


def test_more_than_the_sockets_hold_goes_both_ways_at_once() -> None:
    long = "x" * 2_000_000
    results = run([("SELECT CAST(%s AS text), %s", [long, n]) for n in range(20)])
    assert [(row[0] == long, row[1]) for ((row,), _) in results] == [(True, n) for n in range(20)]


def test_lost_connection_is_raised_and_opened_anew() -> None:
    assert run([name_of(1)]) == [([], 0)]
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OperationalError):
        run([name_of(1)])
    assert run([name_of(1)]) == [([], 0)]


@pytest.mark.parametrize("place", [nullcontext, transaction.atomic], ids=["alone", "in a transaction"])
def test_migration_that_changes_a_column_is_survived(place: Any) -> None:
    """Prepared statements of connections that are kept know the column as it was; a transaction fails once, a read never."""

    def change(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()

    in_thread(lambda: change("CREATE TABLE changing (name varchar(20))")).join(30)
    try:
        for _ in range(2 * PREPARE_AFTER):
            fetch_first("SELECT name FROM changing")
        in_thread(lambda: change("ALTER TABLE changing ALTER COLUMN name TYPE text")).join(30)
        with pytest.raises(NotSupportedError) if place is transaction.atomic else nullcontext(), place():
            assert fetch_first("SELECT name FROM changing") == []
        with place():
            assert fetch_first("SELECT name FROM changing") == []
    finally:
        in_thread(lambda: change("DROP TABLE changing")).join(30)


def test_statement_that_comes_again_takes_other_values() -> None:
    """Its cursor is used again: what that knows of one value's type must not be said of the next."""
    echo = "SELECT CAST(%s AS text), CAST(%s AS bigint), CAST(%s AS jsonb)"
    values: list[tuple[Any, ...]] = [("a", 1, '{"a": 1}'), (None, 2**40, None), ("\u00fc", -3, "[]"), ("", None, "2")]
    for _ in range(2 * PREPARE_AFTER):
        for value in values:
            assert run([(echo, value)])[0][0] == [value]
        assert [rows for rows, _ in run([(echo, value) for value in values])] == [[value] for value in values]


@pytest.mark.parametrize("count", [1, MOST_KEPT_ROWS, MOST_KEPT_ROWS + 1])
def test_statement_that_failed_or_returned_much_works_again(count: int) -> None:
    series: Statement = ("SELECT 1 / (n - %s) FROM generate_series(1, %s) n", [0, count])
    failing: Statement = (series[0], [1, count])
    for _ in range(2 * PREPARE_AFTER):
        assert len(run([series])[0][0]) == count
        with pytest.raises(DataError):
            run([failing])
        with pytest.raises(DataError):
            run([series, failing])
        assert [len(rows) for rows, _ in run([series, series])] == [count, count]


def test_plans_are_kept_only_where_the_session_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pooler would give the next program this session with its setting."""
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    keep_plans()
    assert run([("SHOW plan_cache_mode", ())])[0][0] == [("auto",)]
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", False)
    keep_plans()
    assert run([("SHOW plan_cache_mode", ())])[0][0] == [("force_generic_plan",)]


def test_kept_plan_is_made_anew_for_a_table_that_has_grown() -> None:
    """A plan made while a table is empty reads all of it."""

    def plan() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE '%%growing%%' AND statement LIKE 'SELECT%%'")
            ((name,),) = cursor.fetchall()
            cursor.execute(f"EXPLAIN EXECUTE {name}('{{7}}')")
            return str(cursor.fetchall())

    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE growing AS SELECT 1 AS id")
        cursor.execute("CREATE UNIQUE INDEX growing_id ON growing (id)")
    keep_plans()
    for _ in range(2 * PREPARE_AFTER):
        assert run([("SELECT id FROM growing WHERE id = ANY(CAST(%s AS bigint[]))", ["{7}"])])[0][0] == []
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO growing SELECT n FROM generate_series(2, 50000) n")
    assert "Seq Scan" in plan()
    keep_plans()
    assert "Index" in plan()
