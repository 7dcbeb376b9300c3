"""The clock of record is the database's: one clock for all web and worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from db.backend import on_postgresql
from db.sql import Query, ask

_moved = timedelta()


def machine_now() -> datetime:
    """This host's time now, aware, UTC; only to be compared with the database's."""
    return datetime.now(tz=UTC) + _moved


def move_machine_clock(by: timedelta) -> None:
    """Let `machine_now` differ from the host's clock. Only demo data does so, which lies about the database's clock too."""
    global _moved  # noqa: PLW0603 - one clock a process
    _moved = by


def database_now() -> datetime:
    """The database's time now, aware, UTC: microseconds on PostgreSQL, milliseconds on SQLite. Goes on inside a transaction."""
    return time_of(ask(now_query())[0])


def now_query() -> Query:
    """The same as one of several queries of an `ask`; `time_of` reads its rows."""
    if on_postgresql():
        return "SELECT clock_timestamp()", []
    return "SELECT strftime('%%Y-%%m-%%dT%%H:%%M:%%f', 'now')", []


def time_of(rows: Sequence[Any]) -> datetime:
    (found,) = rows[0]
    return found.astimezone(UTC) if isinstance(found, datetime) else datetime.fromisoformat(found).replace(tzinfo=UTC)
