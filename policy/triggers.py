"""The trigger that keeps a published version as it is, put back where SQLite has dropped it."""

from __future__ import annotations

from typing import Any

from django.db import connections

_SQLITE = """
CREATE TRIGGER IF NOT EXISTS policy_published_is_final BEFORE UPDATE ON policy_policyversion WHEN OLD.state = 'published'
BEGIN SELECT RAISE(ABORT, 'policy version is published and cannot be changed'); END
"""
_TABLE = "policy_policyversion"


def put_back(using: str, **_: Any) -> None:
    """Receiver of post_migrate. A migration that alters a table on SQLite builds it anew and drops its triggers without a word."""
    connection = connections[using]
    if connection.vendor == "sqlite" and _TABLE in connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute(_SQLITE)
