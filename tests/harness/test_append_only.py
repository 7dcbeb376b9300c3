"""Test databases are emptied although their audit tables refuse it, and guard as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import TransactionTestCase

from audit.events import EventType
from audit.log import Actor, Event, record_many
from audit.models import AuditEvent
from db.clock import database_now
from tests.harness.plugin.append_only import triggers_out_of_force

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

_GUARD = {
    "postgresql": [
        "CREATE FUNCTION append_only_probe() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'append only'; END $$",
        "CREATE TRIGGER audit_append_only_probe BEFORE DELETE ON probe FOR EACH ROW EXECUTE FUNCTION append_only_probe()",
        "ALTER TABLE probe ENABLE ALWAYS TRIGGER audit_append_only_probe",
    ],
    "sqlite": ["CREATE TRIGGER audit_append_only_probe BEFORE DELETE ON probe BEGIN SELECT RAISE(ABORT, 'append only'); END"],
}


@pytest.fixture
def probe() -> Iterator[None]:
    """A guarded table with one row, which no model knows."""
    with connection.cursor() as cursor:
        for statement in ("CREATE TABLE probe (id integer)", *_GUARD[connection.vendor], "INSERT INTO probe VALUES (1)"):
            cursor.execute(statement)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE probe")
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION append_only_probe()")


def _delete() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM probe")


def _rows() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM probe")
        return int(cursor.fetchone()[0])


def test_rows_go_only_while_the_triggers_are_out_of_force(probe: None) -> None:
    with triggers_out_of_force(connection):
        _delete()
    assert _rows() == 0
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO probe VALUES (2)")
    with pytest.raises(DatabaseError, match="append only"):
        _delete()
    assert _rows() == 1


def test_triggers_come_back_when_the_block_fails(probe: None) -> None:
    with pytest.raises(ZeroDivisionError), triggers_out_of_force(connection):
        raise ZeroDivisionError
    with pytest.raises(DatabaseError, match="append only"):
        _delete()


def _record_one() -> None:
    with transaction.atomic():
        record_many([Event(EventType.REQUEST_SUBMITTED, subject="request:1", actor=Actor("user", "alice"), at=database_now())])


def test_flush_after_a_transactional_test_empties_the_audit_log_and_leaves_it_guarded() -> None:
    _record_one()
    TransactionTestCase()._fixture_teardown()  # type: ignore[attr-defined]  # noqa: SLF001 - as in emptying.py
    assert AuditEvent.objects.count() == 0
    _record_one()
    with pytest.raises((DatabaseError, CommandError)):
        call_command("flush", interactive=False, verbosity=0)
    assert AuditEvent.objects.count() == 1
