"""The test database can be dropped at the end of a run, whoever is still connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

_END_OTHERS = "SELECT query, pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def _ended(connection: BaseDatabaseWrapper, statement: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [query for query, _ended in cursor.fetchall()]


def end_other_sessions() -> list[str]:
    """End all other sessions of the test database; return the last statement of each."""
    return _ended(connection, _END_OTHERS)


def end_busy_sessions(connection: BaseDatabaseWrapper) -> list[str]:
    """End the other sessions that are in a transaction; return the last statement of each."""
    return _ended(connection, f"{_END_OTHERS} AND state <> 'idle'")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_keepdb: bool, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """pytest-django's own fixture, before whose end a thread or process that a test left behind
    loses its connection: PostgreSQL does not drop a database that somebody uses.
    """
    yield
    if django_db_keepdb or connection.vendor != "postgresql":
        return
    from tests.harness.plugin.emptying import close_sessions  # noqa: PLC0415 - imports models: settings first
    from tests.harness.plugin.sessions import close_spare_sessions  # noqa: PLC0415

    with django_db_blocker.unblock():
        close_sessions()
        close_spare_sessions()
        connection.close()  # the last test may have had PostgreSQL end it
        left_over = end_other_sessions()
    for statement in left_over:
        print(f"a test left a session of the database open; its last statement: {statement[:200]}")
