"""The database refuses to change the ledger, whoever asks, as long as its triggers stand."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from audit.checks import check_triggers
from audit.models import AuditEvent, Checkpoint, SealedLeaf
from audit.transparency.sealer import seal
from audit.triggers import TABLES, install_triggers, missing_triggers, remove_triggers, trigger_names
from tests.audit.ledger import execute, write

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

COLUMN = {"audit_event": "event", "audit_sealed_leaf": "leaf_hash", "audit_checkpoint": "note"}


@pytest.fixture(autouse=True)
def sealed() -> None:
    write("req-1", "req-2")
    seal()


def refused(statement: str) -> bool:
    try:
        with transaction.atomic():
            execute(statement)
    except DatabaseError as exc:
        return "append-only" in str(exc)
    return False


@pytest.mark.parametrize("table", TABLES)
def test_update_and_delete_are_refused(table: str) -> None:
    assert refused(f"UPDATE {table} SET {COLUMN[table]} = {COLUMN[table]}")
    assert refused(f"DELETE FROM {table}")


def test_queryset_update_delete_and_upsert_are_refused() -> None:
    for forbidden in (
        lambda: AuditEvent.objects.update(event="x"),
        lambda: AuditEvent.objects.filter(subject="req-1").delete(),
        lambda: SealedLeaf.objects.update(leaf_index=9),
        lambda: Checkpoint.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            forbidden()
    assert refused("INSERT INTO audit_event SELECT * FROM audit_event WHERE subject = 'req-1' ON CONFLICT (id) DO UPDATE SET event = 'x'")


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="TRUNCATE and replication roles are PostgreSQL's")
@pytest.mark.parametrize("table", TABLES)
def test_truncate_and_replica_role_are_refused(table: str) -> None:
    assert refused(f"TRUNCATE {table} CASCADE")
    execute("SET LOCAL session_replication_role = replica")
    assert refused(f"DELETE FROM {table}")


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="INSERT OR REPLACE is SQLite's")
def test_insert_or_replace_is_refused_whatever_the_connection_says() -> None:
    execute("PRAGMA recursive_triggers = OFF")
    columns = "event, subject, subject_seq, actor_kind, actor_name, at, data"
    try:
        assert refused(f"INSERT OR REPLACE INTO audit_event (id, {columns}) SELECT id, {columns} FROM audit_event WHERE subject = 'req-1'")
        assert refused(f"INSERT OR REPLACE INTO audit_event ({columns}) SELECT {columns} FROM audit_event WHERE subject = 'req-1'")
        assert refused("INSERT OR REPLACE INTO audit_sealed_leaf SELECT 99, epoch, leaf_index, leaf_hash FROM audit_sealed_leaf")
        assert refused(
            "INSERT OR REPLACE INTO audit_checkpoint SELECT 99, epoch, tree_size, root_hash, frontier, note, created_at "
            "FROM audit_checkpoint"
        )
    finally:
        execute("PRAGMA recursive_triggers = ON")


def test_check_is_silent_with_the_triggers_and_names_a_missing_one() -> None:
    assert check_triggers(None, databases=["default"]) == []
    remove_triggers(connection)
    assert missing_triggers(connection) == trigger_names(connection.vendor)
    (message,) = check_triggers(None, databases=["default"])
    assert (message.id, "manage.py migrate" in str(message.hint)) == ("audit.W001", True)
    install_triggers(connection)
    assert missing_triggers(connection) == []


def test_check_names_a_trigger_that_does_nothing() -> None:
    if connection.vendor == "postgresql":
        execute("CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        hollow = trigger_names("postgresql")
    else:
        hollow = ["audit_append_only_delete_audit_event"]
        execute(f"DROP TRIGGER {hollow[0]}")
        execute(f"CREATE TRIGGER {hollow[0]} BEFORE DELETE ON audit_event BEGIN SELECT 1; END")
    assert missing_triggers(connection) == hollow


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no ALTER TABLE ... DISABLE TRIGGER")
@pytest.mark.parametrize("state", ["DISABLE", "ENABLE", "ENABLE REPLICA"])
def test_check_names_a_trigger_that_is_not_always_on(state: str) -> None:
    execute(f"ALTER TABLE audit_event {state} TRIGGER audit_append_only_audit_event")
    assert missing_triggers(connection) == ["audit_append_only_audit_event"]


def test_migrate_puts_the_triggers_back() -> None:
    remove_triggers(connection)
    call_command("migrate", "audit", verbosity=0)
    assert missing_triggers(connection) == []
    assert refused("DELETE FROM audit_event")
