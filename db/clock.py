"""The clock of record is the database's: one clock for all web and worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from db.backend import on_postgresql
from db.pipeline import Row
from db.reads import Read, read
from db.sql import fetch

_moved = timedelta()


def machine_now() -> datetime:
    """Return this host's time now, aware, UTC; only to be compared with the database's."""
    return datetime.now(tz=UTC) + _moved


def move_machine_clock(by: timedelta) -> None:
    """Let `machine_now` differ from the host's clock. Only demo data does so, which lies about the database's clock too."""
    global _moved  # noqa: PLW0603 - one clock a process
    _moved = by


def database_now() -> datetime:
    """Return the database's time now, aware, UTC: microseconds on PostgreSQL, milliseconds on SQLite.

    `clock_timestamp()`, not `now()`: the time goes on within a transaction, which may have waited for a lock.
    """
    return read(CLOCK)


def _now_on_postgresql(rows: Sequence[list[Row]]) -> datetime:
    ((now,),) = rows[0]
    assert isinstance(now, datetime)
    return now.astimezone(UTC)


def _now_on_sqlite() -> datetime:
    ((text,),) = fetch("SELECT strftime('%%Y-%%m-%%dT%%H:%%M:%%f', 'now')")
    return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)


CLOCK = Read([("SELECT clock_timestamp()", ())], _now_on_postgresql, _now_on_sqlite)  # `database_now`, to be sent with other reads


def now_in_sql() -> str:
    """Return the same time as SQL, to be compared with columns as Django stores them (on SQLite text that sorts like times)."""
    return "clock_timestamp()" if on_postgresql() else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
