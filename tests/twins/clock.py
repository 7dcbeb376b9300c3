"""A clock that tests move: PostgreSQL's, which is the clock of record, and Python's with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import time_machine
from django.db import connection

# Found before PostgreSQL's own function by sessions whose search_path names this schema first.
_CLOCK = """
CREATE SCHEMA IF NOT EXISTS moved_clock;
CREATE OR REPLACE FUNCTION moved_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT current_setting('moved_clock.now')::timestamptz $$;
SET search_path = moved_clock, pg_catalog, public;
"""


class MovedClock:
    """Stands still until it is moved. Only this thread's database session follows."""

    def __init__(self, start: datetime) -> None:
        self._traveller = time_machine.travel(start, tick=False)
        self._coordinates = self._traveller.start()
        self.now = start
        self._set()

    def move(self, by: timedelta) -> datetime:
        return self.move_to(self.now + by)

    def move_to(self, moment: datetime) -> datetime:
        self.now = moment
        self._coordinates.move_to(moment)
        self._set()
        return moment

    def _set(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('moved_clock.now', %s, false)", [self.now.isoformat()])

    def stop(self) -> None:
        self._traveller.stop()


def tomorrow_at(hour: int) -> datetime:
    """A start that no row of the fixtures lies after, at the same time of day in every test run."""
    return datetime.now(tz=UTC).replace(hour=hour, minute=0, second=0, microsecond=0) + timedelta(days=1)


@contextmanager
def moved_clock(start: datetime) -> Iterator[MovedClock]:
    """Stop the clock at `start` for the block."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOCK)
    clock = MovedClock(start)
    try:
        yield clock
    finally:
        clock.stop()
        with connection.cursor() as cursor:
            cursor.execute("RESET search_path; DROP SCHEMA moved_clock CASCADE")
