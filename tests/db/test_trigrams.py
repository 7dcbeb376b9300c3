"""The index of parts of texts: made by who may, in words where it cannot be made, and never in the way of what works without it."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from django.db import connection

from db import trigrams
from db.trigrams import EXTENSION, IndexNotPossible, IndexState, PartIndex, make_index, state_of_index

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no trigrams"),
]
INDEX = PartIndex("words_part", "words", "text")


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def login() -> str:
    """A login as an administrator gives it: the table is its own, the database is not. Taken back with the transaction."""
    name = f"login_of_{connection.settings_dict['NAME']}"
    execute(
        f'CREATE ROLE "{name}" LOGIN',
        f"DROP EXTENSION IF EXISTS {EXTENSION} CASCADE",
        f'GRANT USAGE, CREATE ON SCHEMA public TO "{name}"',
        f'SET ROLE "{name}"',
        f'CREATE TABLE "{INDEX.table}" ("{INDEX.column}" varchar(253))',
    )
    return name


def test_a_login_without_the_right_is_told_what_an_administrator_runs(login: str) -> None:
    with pytest.raises(IndexNotPossible, match=f"login '{login}' may not create the extension pg_trgm") as refused:
        make_index(INDEX, connection)
    assert "permission denied" in str(refused.value)
    assert state_of_index(INDEX, connection) is IndexState.ABSENT
    execute("RESET ROLE", refused.value.statement, f'SET ROLE "{login}"')
    make_index(INDEX, connection)
    assert state_of_index(INDEX, connection) is IndexState.READY


def test_who_may_create_in_the_database_needs_no_administrator(login: str) -> None:
    execute("RESET ROLE", f'GRANT CREATE ON DATABASE "{connection.settings_dict["NAME"]}" TO "{login}"', f'SET ROLE "{login}"')
    make_index(INDEX, connection)
    assert state_of_index(INDEX, connection) is IndexState.READY


def test_an_extension_in_a_schema_of_its_own_is_found(login: str) -> None:
    execute(
        "RESET ROLE",
        "CREATE SCHEMA extensions",
        f"CREATE EXTENSION {EXTENSION} SCHEMA extensions",
        f'GRANT USAGE ON SCHEMA extensions TO "{login}"',
        f'SET ROLE "{login}"',
    )
    make_index(INDEX, connection)
    assert state_of_index(INDEX, connection) is IndexState.READY


def test_the_table_of_another_login_gets_its_index_from_that_one(login: str) -> None:
    execute("RESET ROLE", f"CREATE EXTENSION {EXTENSION}", f'ALTER TABLE "{INDEX.table}" OWNER TO CURRENT_USER', f'SET ROLE "{login}"')
    with pytest.raises(IndexNotPossible, match="may not make the index words_part") as refused:
        make_index(INDEX, connection)
    execute("RESET ROLE", refused.value.statement)
    assert state_of_index(INDEX, connection) is IndexState.READY


def test_what_an_interruption_left_is_made_anew(login: str) -> None:
    execute("RESET ROLE")
    make_index(INDEX, connection)
    execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX.name}'::regclass")
    assert state_of_index(INDEX, connection) is IndexState.UNFINISHED
    make_index(INDEX, connection)
    assert state_of_index(INDEX, connection) is IndexState.READY


def test_a_table_that_is_not_there_needs_no_index() -> None:
    nowhere = PartIndex("nowhere_part", "nowhere", "text")
    make_index(nowhere, connection)
    assert state_of_index(nowhere, connection) is IndexState.NOT_NEEDED


def test_a_server_without_the_extension_is_named_with_its_package(login: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigrams, "EXTENSION", "no_such_extension")
    with pytest.raises(IndexNotPossible, match="does not have the extension no_such_extension: its package postgresql-contrib"):
        make_index(INDEX, connection)


@pytest.mark.django_db(transaction=True)
def test_an_index_that_another_session_makes_is_left_to_it() -> None:
    """Two `migrate` at once, or `search_index` beside one: neither waits for the other or undoes its work."""
    parameters: dict[str, Any] = {**connection.get_connection_params(), "autocommit": True}
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    execute(f'CREATE TABLE "{INDEX.table}" ("{INDEX.column}" varchar(253))')
    make = f'CREATE INDEX CONCURRENTLY "{INDEX.name}" ON "{INDEX.table}" USING gin ("{INDEX.column}" gin_trgm_ops)'
    try:
        with psycopg.connect(**parameters) as writer, psycopg.connect(**parameters) as maker:
            writer.execute("BEGIN")
            writer.execute(f"INSERT INTO \"{INDEX.table}\" VALUES ('written before')")
            making = threading.Thread(target=maker.execute, args=(make,))  # waits for the writer
            making.start()
            end = time.monotonic() + 20
            while state_of_index(INDEX, connection) is not IndexState.BEING_MADE and time.monotonic() < end:
                time.sleep(0.02)
            make_index(INDEX, connection)
            assert state_of_index(INDEX, connection) is IndexState.BEING_MADE
            writer.execute("COMMIT")
            making.join(timeout=20)
        assert state_of_index(INDEX, connection) is IndexState.READY
    finally:
        execute(f'DROP TABLE "{INDEX.table}"')
