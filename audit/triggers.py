"""The database triggers that make the ledger append-only, on PostgreSQL and SQLite: their text, how to put them in place, how to check.

The owner of the tables can still drop a trigger. That is why `audit.verification.verify` looks for them, and why the log is sealed besides.
"""

from __future__ import annotations

import logging
from typing import Any

from django.apps.registry import Apps
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

logger = logging.getLogger(__name__)

TABLES = ("audit_event", "audit_sealed_leaf", "audit_checkpoint")
FUNCTION = "audit_append_only"

_BODY = """
BEGIN
    RAISE EXCEPTION 'The audit table % is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
"""
# pg_trigger.tgtype: BEFORE (2) + DELETE (8) + UPDATE (16) + TRUNCATE (32), for each statement (no bit 1).
_TYPE = 2 + 8 + 16 + 32

# SQLite's INSERT OR REPLACE deletes the old row without firing the DELETE trigger unless recursive_triggers is on, and that is a
# setting of each connection. So an insert that would meet an existing row is refused by a trigger of its own.
_SAME_ROW = {
    "audit_event": "id = NEW.id OR (subject = NEW.subject AND subject_seq = NEW.subject_seq)",
    "audit_sealed_leaf": "event_id = NEW.event_id OR (epoch = NEW.epoch AND leaf_index = NEW.leaf_index)",
    "audit_checkpoint": "id = NEW.id OR (epoch = NEW.epoch AND tree_size = NEW.tree_size)",
}


def trigger_names(vendor: str) -> list[str]:
    """Return the triggers that must exist on a database of this vendor."""
    if vendor == "postgresql":
        return [f"audit_append_only_{table}" for table in TABLES]
    return list(_sqlite_triggers())


def install_triggers(connection: BaseDatabaseWrapper) -> None:
    """Make every trigger, in place of one of the same name. Safe to run again."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $body${_BODY}$body$")
            for table in TABLES:
                name = f"audit_append_only_{table}"
                cursor.execute(
                    f"CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION {FUNCTION}()"
                )
                # ALWAYS: also when session_replication_role is set to replica.
                cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
        else:
            for name, statement in _sqlite_triggers().items():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
                cursor.execute(statement)


def remove_triggers(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers away: for undoing the migration, and for emptying a test database."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in TABLES:
                cursor.execute(f"DROP TRIGGER IF EXISTS audit_append_only_{table} ON {table}")
            cursor.execute(f"DROP FUNCTION IF EXISTS {FUNCTION}()")
        else:
            for name in _sqlite_triggers():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")


def missing_triggers(connection: BaseDatabaseWrapper) -> list[str]:
    """Return names of the triggers that are absent, switched off, or not as this module writes them."""
    found = _postgresql_found(connection) if connection.vendor == "postgresql" else _sqlite_found(connection)
    return [name for name in trigger_names(connection.vendor) if name not in found]


def tables_exist(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the migrations of this app have run."""
    return set(TABLES) <= set(connection.introspection.table_names())


def install_after_migrate(*, using: str, **kwargs: Any) -> None:  # noqa: ARG001 - signals pass more
    """Receiver of post_migrate. A migration that alters a table on SQLite builds it anew and drops its triggers without a word."""
    connection = connections[using]
    if tables_exist(connection) and (missing := missing_triggers(connection)):
        install_triggers(connection)
        logger.warning("Put back the triggers that keep the audit log append-only: %s. Run `manage.py verify_audit`.", ", ".join(missing))


def migrate_forward(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:  # noqa: ARG001 - RunPython's signature
    install_triggers(schema_editor.connection)


def migrate_backward(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:  # noqa: ARG001
    remove_triggers(schema_editor.connection)


def _sqlite_triggers() -> dict[str, str]:
    statements = {}
    for table in TABLES:
        refuse = f"BEGIN SELECT RAISE(ABORT, 'The audit table {table} is append-only'); END"
        for action in ("UPDATE", "DELETE"):
            name = f"audit_append_only_{action.lower()}_{table}"
            statements[name] = f"CREATE TRIGGER {name} BEFORE {action} ON {table} {refuse}"
        name = f"audit_append_only_replace_{table}"
        statements[name] = (
            f"CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {_SAME_ROW[table]}) {refuse}"  # noqa: S608
        )
    return statements


def _sqlite_found(connection: BaseDatabaseWrapper) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        found = dict(cursor.fetchall())
    return {name for name, statement in _sqlite_triggers().items() if found.get(name) == statement}


def _postgresql_found(connection: BaseDatabaseWrapper) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid "
            "WHERE t.tgname = 'audit_append_only_' || c.relname AND c.oid = to_regclass(c.relname) AND t.tgenabled = 'A' "
            "AND t.tgtype = %s AND t.tgqual IS NULL AND p.proname = %s AND p.prosrc = %s",
            [_TYPE, FUNCTION, _BODY],
        )
        return {row[0] for row in cursor.fetchall()}
