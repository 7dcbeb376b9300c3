"""Which of the two databases this is.

Asked only in `db`, in migrations, and where triggers are made (`audit.triggers`, `policy.triggers`).
"""

from __future__ import annotations

from functools import cache

from django.db import connection


@cache
def on_postgresql() -> bool:
    """Return whether this is PostgreSQL; otherwise it is SQLite. Kept, because it is asked a hundred times for each certificate."""
    return connection.vendor == "postgresql"


def keeps_text_as_written() -> bool:
    """Return whether JSON and times are stored as the text that was written (SQLite), not as values (PostgreSQL)."""
    return not on_postgresql()
