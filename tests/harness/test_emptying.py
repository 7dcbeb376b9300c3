"""What a transactional test leaves behind is gone before the next one, and what `migrate` wrote is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction
from django.test import TransactionTestCase

from audit.models import AuditEvent
from audit.triggers import missing_triggers, remove_triggers
from certs.access.roles import ROLES, is_as_released
from certs.models import Domain, Team
from tests.cast import person
from tests.harness.plugin import emptying
from tests.harness.plugin.databases import end_other_sessions
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def end_of_test() -> None:
    TransactionTestCase()._fixture_teardown()  # type: ignore[attr-defined]  # noqa: SLF001 - as in emptying.py


def left() -> dict[str, int]:
    """Rows by table, without what `migrate` writes."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    counts = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT count(*) FROM {table}")
            counts[table] = int(cursor.fetchone()[0])
    by_migrate = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
    return {table: count for table, count in counts.items() if count and table not in by_migrate}


def roles_are_as_released() -> bool:
    groups = list(Group.objects.all())
    return {group.name for group in groups} == set(ROLES) and all(is_as_released(group) for group in groups)


def test_what_was_written_is_gone_and_the_roles_are_there(portal: Portal) -> None:
    end_of_test()
    portal.team.pk = None
    portal.team.save()
    portal.team.members.add(person("dora"))
    Domain.objects.create(name="dora.test", team=portal.team)
    assert {"certs_team", "certs_team_members", "certs_domain", "auth_user", "audit_event"} <= set(left())
    permissions = list(Permission.objects.order_by("pk").values_list("pk", flat=True))
    end_of_test()
    assert (left(), roles_are_as_released(), missing_triggers(connection)) == ({}, True, [])
    assert list(Permission.objects.order_by("pk").values_list("pk", flat=True)) == permissions


@pytest.mark.parametrize(
    "change",
    [
        lambda: Group.objects.create(name="own"),
        lambda: Group.objects.filter(name="auditor").update(name="renamed"),
        lambda: Group.permissions.through.objects.all().delete(),
        lambda: remove_triggers(connection),
    ],
    ids=["one more role", "another role", "roles without rights", "no triggers"],
)
def test_what_migrate_wrote_is_there_again(change: Callable[[], Any]) -> None:
    end_of_test()
    change()
    Team.objects.create(slug="web", name="Web")
    end_of_test()
    assert (left(), roles_are_as_released(), missing_triggers(connection)) == ({}, True, [])


def test_a_thread_that_has_yet_to_commit_is_waited_for() -> None:
    """Or its rows would appear in the next test."""
    end_of_test()
    written, go_on = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            Team.objects.create(slug="late", name="Late")
            written.set()
            go_on.wait(20)
        connection.close()

    late = threading.Thread(target=write)
    late.start()
    assert written.wait(20)
    threading.Timer(0.2, go_on.set).start()
    end_of_test()
    late.join(20)
    assert (Team.objects.count(), AuditEvent.objects.count()) == (0, 0)


def test_django_s_flush_is_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    end_of_test()
    Team.objects.create(slug="web", name="Web")
    monkeypatch.setattr(emptying, "_flushed", lambda _connection: pytest.fail("flushed"))
    end_of_test()
    assert Team.objects.count() == 0


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no sessions")
def test_it_is_emptied_after_a_test_that_ended_all_sessions() -> None:
    end_of_test()
    Team.objects.create(slug="web", name="Web")
    assert len(end_other_sessions()) > 0
    end_of_test()
    assert Team.objects.count() == 0


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer, which the test itself is")
def test_transaction_that_a_thread_left_open_does_not_hang_the_next_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emptying, "PATIENCE_SECONDS", 1)
    own = connection.settings_dict
    with psycopg.connect(host=own["HOST"], port=own["PORT"], user=own["USER"], password=own["PASSWORD"], dbname=own["NAME"]) as left_over:
        left_over.execute("INSERT INTO auth_group (name) VALUES ('left over')")
        end_of_test()
        with pytest.raises(psycopg.OperationalError):
            left_over.execute("SELECT 1")
    assert not Group.objects.filter(name="left over").exists()
