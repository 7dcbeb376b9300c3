"""What a test did to its session of PostgreSQL is gone for the next one, which may have the same session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connections

from tests.harness.plugin.sessions import close_spare_sessions, end_test

connection = connections["default"]
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no sessions"),
]


@pytest.fixture(autouse=True)
def _session_of_its_own() -> Iterator[None]:
    close_spare_sessions()
    connection.close()
    yield
    connection.close()


def ask(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def own_pid() -> int:
    return int(ask("SELECT pg_backend_pid()"))


def test_the_next_test_has_the_same_session_and_it_is_as_new() -> None:
    before = own_pid()
    for statement in ("SET statement_timeout = 999", "SET TIME ZONE 'Asia/Tokyo'", "LISTEN something", "CREATE TEMP TABLE here (x int)"):
        ask(statement)
    ask("SELECT pg_advisory_lock(1)")
    end_test(connection)
    assert connection.connection is None
    assert own_pid() == before
    assert (ask("SHOW statement_timeout"), ask("SHOW TimeZone")) == ("0", "UTC")
    assert ask("SELECT count(*) FROM pg_listening_channels()") == 0
    assert ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert ask("SELECT to_regclass('pg_temp.here')") is None


def test_statements_are_prepared_anew_in_each_test() -> None:
    for _ in range(3):
        own_pid()
        for _ in range(2):
            psycopg.Cursor(connection.connection).execute("SELECT 'prepared'", prepare=True)
        assert ask("SELECT count(*) FROM pg_prepared_statements") == 1
        end_test(connection)
        assert ask("SELECT count(*) FROM pg_prepared_statements") == 0


def test_a_session_within_a_transaction_is_closed() -> None:
    before = own_pid()
    connection.set_autocommit(False)
    ask("SELECT 1")
    end_test(connection)
    assert own_pid() != before


def test_a_session_with_a_cursor_that_is_still_open_is_closed() -> None:
    before = own_pid()
    ask("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
    end_test(connection)
    assert own_pid() != before


def test_a_session_that_the_server_ended_is_not_used() -> None:
    before = own_pid()
    end_test(connection)
    with connection.copy().cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [before])
        cursor.db.close()
    assert own_pid() != before


def test_a_test_with_other_settings_of_the_database_has_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    before = own_pid()
    end_test(connection)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"options": "-c statement_timeout=7s"})
    assert own_pid() != before
    assert ask("SHOW statement_timeout") == "7s"
