"""Which of the two databases this is.

Asked only in `db`, in migrations, and where triggers are made (`audit.triggers`, `policy.triggers`).
"""

from __future__ import annotations

from functools import cache

from django.db import connection


@cache
def on_postgresql() -> bool:
    """Otherwise it is SQLite. (Asked a hundred times for each certificate: Django's `connection` looks itself up each time.)"""
    return connection.vendor == "postgresql"


def keeps_text_as_written() -> bool:
    """Return whether JSON and times are stored as the text that was written (SQLite), not as values (PostgreSQL)."""
    return not on_postgresql()
