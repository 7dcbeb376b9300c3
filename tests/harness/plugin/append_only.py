"""Let a test database be emptied between tests although its audit tables refuse UPDATE, DELETE and TRUNCATE.

At the end of a transactional test, and nowhere else, the triggers whose names start with `audit_append_only` are put out of force,
as only the tables' owner can; afterwards they are what they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from django.db.backends.base.base import BaseDatabaseWrapper

_PREFIX = "audit_append_only"
# pg_trigger.tgenabled: O origin, R replica, A always, D disabled.
_POSTGRES_ENABLE = {"O": "ENABLE TRIGGER", "R": "ENABLE REPLICA TRIGGER", "A": "ENABLE ALWAYS TRIGGER"}


@contextlib.contextmanager
def triggers_out_of_force(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Within the block rows may be changed and deleted. An exception inside does not leave the triggers off."""
    lift = {"postgresql": _postgres_out_of_force, "sqlite": _sqlite_out_of_force}[connection.vendor]
    with lift(connection):
        yield


@contextlib.contextmanager
def _postgres_out_of_force(connection: BaseDatabaseWrapper) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, quote_ident(tgname), tgenabled::text FROM pg_trigger"
            " WHERE starts_with(tgname, %s) AND NOT tgisinternal AND tgenabled <> 'D'",
            [_PREFIX],
        )
        triggers = cursor.fetchall()
        for table, name, _state in triggers:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for table, name, state in triggers:
                cursor.execute(f"ALTER TABLE {table} {_POSTGRES_ENABLE[state]} {name}")


@contextlib.contextmanager
def _sqlite_out_of_force(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """SQLite cannot disable a trigger: drop it and run its own CREATE statement again."""
    triggers = _sqlite_triggers(connection)
    with connection.cursor() as cursor:
        for name in triggers:
            cursor.execute(f"DROP TRIGGER {connection.ops.quote_name(name)}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for statement in triggers.values():
                cursor.execute(statement)


def _sqlite_triggers(connection: BaseDatabaseWrapper) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, %s) = %s", [len(_PREFIX), _PREFIX])
        return dict(cursor.fetchall())


@contextlib.contextmanager
def flush_lifts_triggers(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Around the emptying itself, not the post_migrate signal after it: its receivers would find their triggers missing."""
    flush = connection.ops.execute_sql_flush

    def lifted(sql_list: Iterable[str]) -> None:
        with triggers_out_of_force(connection):
            flush(sql_list)

    connection.ops.execute_sql_flush = lifted  # type: ignore[method-assign]
    try:
        yield
    finally:
        del connection.ops.execute_sql_flush
