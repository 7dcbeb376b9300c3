"""The test database can be dropped at the end of a run, whoever is still connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker


def end_other_sessions() -> list[str]:
    """End all other sessions of the test database; return the last statement of each."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT query, pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [query for query, _ended in cursor.fetchall()]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_keepdb: bool, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """pytest-django's own fixture, before whose end a thread or process that a test left behind
    loses its connection: PostgreSQL does not drop a database that somebody uses.
    """
    yield
    if django_db_keepdb or connection.vendor != "postgresql":
        return
    with django_db_blocker.unblock():
        connection.close()  # the last test may have had PostgreSQL end it
        left_over = end_other_sessions()
    for statement in left_over:
        print(f"a test left a session of the database open; its last statement: {statement[:200]}")
