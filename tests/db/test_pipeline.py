"""What comes first in a call finds out whether the connection that was kept still works."""

from __future__ import annotations

import pytest
from django.db import DataError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from db.sql import Query, ask_first
from tests.portal.threads import in_thread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose"),
]

SESSION: Query = ("SELECT pg_backend_pid()", [])


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: a connection is kept between two calls, and checked before it is used again."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    connection.close()


def session() -> int:
    ((row,),) = ask_first(SESSION)
    return int(row[0])


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
        ask_first(("SELECT nextval('times') / 0", []))
    assert ask_first(("SELECT nextval('times')", [])) == [[(2,)]]


def test_connection_lost_in_a_transaction_fails() -> None:
    """What was done in it is lost with it, so nothing may go on in its place."""
    with pytest.raises(OperationalError), transaction.atomic():
        lose_session_and_ask()


def test_no_connection_yet_is_made() -> None:
    connection.close()
    assert session() > 0
