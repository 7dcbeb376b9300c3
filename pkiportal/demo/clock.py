"""A clock that is moved into the past while demo data is made: embedded portal only, in one process.

A certificate's dates are signed, and the audit log compares what is stored with what happened. So an
estate that looks a year old cannot be written afterwards; it is made by the real workflow while the
clocks are a year behind.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.db.backends.signals import connection_created

from db.backend import on_postgresql
from db.clock import machine_now, move_machine_clock


class DemoClock:
    """Moves the database's clock (SQLite's `strftime` of 'now') and this process's own together."""

    def __init__(self) -> None:
        if not settings.PKI_EMBEDDED or on_postgresql():
            raise ImproperlyConfigured("The demo clock is for the embedded portal on SQLite.")
        connection_created.connect(self._follow)
        connection.close()

    def set(self, moment: datetime) -> None:
        """Let it be that moment now; the clocks go on from there."""
        move_machine_clock(moment - datetime.now(tz=UTC))

    def stop(self) -> None:
        """Give the real time back."""
        move_machine_clock(timedelta())
        connection_created.disconnect(self._follow)
        connection.close()

    def _follow(self, connection: Any, **_kwargs: Any) -> None:
        """Give a new connection a `strftime` that knows the moved time."""
        unchanged = sqlite3.connect(":memory:", check_same_thread=False)

        def strftime(form: str, *when: str) -> str | None:
            if when[:1] == ("now",):
                when = (f"{machine_now():%Y-%m-%d %H:%M:%S.%f}"[:-3], *when[1:])
            marks = ", ".join("?" for _ in when)
            found: str | None = unchanged.execute(f"SELECT strftime(?, {marks})", (form, *when)).fetchone()[0]
            return found

        connection.connection.create_function("strftime", -1, strftime)
