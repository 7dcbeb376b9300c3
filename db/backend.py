"""Which of the two databases this is. At the bottom of the house, because every room that writes SQL asks."""

from __future__ import annotations

from functools import cache

from django.db import connection


@cache
def on_postgresql() -> bool:
    """Otherwise it is SQLite. (Asked a hundred times for each certificate: Django's `connection` looks itself up each time.)"""
    return connection.vendor == "postgresql"


def dialect() -> str:
    """`postgresql` or `sqlite`, as keys of the few statements that differ."""
    return "postgresql" if on_postgresql() else "sqlite"
