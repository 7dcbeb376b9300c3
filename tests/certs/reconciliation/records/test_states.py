"""The log explains every state, and whatever is written or removed behind the portal's back is named."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction

from certs.models import Certificate, Team
from certs.reconciliation.records import comparison as shared
from certs.reconciliation.records.comparison import Comparison
from certs.reconciliation.records.explained import Logged, request_state, revocation_state
from certs.reconciliation.records.states import compare_states
from certs.requests.submit import Requester
from db.backend import on_postgresql
from db.clock import database_now
from keys.models import PublicKey
from tests.audit.ledger import execute
from tests.certs.reconciliation.forgeries import BROKEN_LINKS, FORGED_EVENTS, FORGERIES
from tests.certs.reconciliation.stores import MakeSpec, Named, compared, compared_until_named, fill


@pytest.fixture
def world(twin_portal: Requester, make_spec: MakeSpec) -> None:
    fill(twin_portal, make_spec)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("world")
def test_every_state_written_or_removed_by_sql_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """S6, and the state tables against the log. Small pages: none is left out."""
    with monkeypatch.context() as small:
        small.setattr(shared, "PAGE", 3)
        small.setattr("certs.reconciliation.records.missing.PAGE", 3)
        assert compared().problems == []
    call_command("verify_states", "--json")
    logged = json.loads(capsys.readouterr().out)
    assert (logged["success"], logged["problems"]) == (True, [])
    assert logged["compared"]["certificates"] == Certificate.objects.count() == 10
    assert {"requests", "approvals", "revocations", "blocked keys", "tokens", "issuers", "bulk orders"} <= set(logged["compared"])
    unnoticed = []
    for kind, statement in FORGERIES:
        with transaction.atomic():
            _forged(statement)
            try:
                compared_until_named(kind)
            except Named:
                pass
            else:
                unnoticed.append((kind, statement, compared().problems))
            transaction.set_rollback(True)
    assert unnoticed == []
    Certificate.objects.filter(common_name="revoked.example.com").update(status="good")
    with pytest.raises(SystemExit) as ended:
        call_command("verify_states")
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "status is good, but the log says revoked" in shown
    assert "What to do" in shown


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("statements", [BROKEN_LINKS, FORGED_EVENTS], ids=["links", "events"])
def test_rows_that_point_at_nothing_and_forged_events_are_named_without_a_traceback(statements: list[str]) -> None:
    unnoticed = []
    for statement in statements:
        with transaction.atomic():
            execute("SET session_replication_role = replica")
            execute("ALTER TABLE audit_event DISABLE TRIGGER USER")
            execute(statement)
            execute("SET session_replication_role = DEFAULT")
            if not compared().problems:
                unnoticed.append(statement)
            transaction.set_rollback(True)
    assert unnoticed == []


def _forged(statement: str) -> None:
    """As the owner of the tables, who may put the trigger of published policies out of force."""
    statement = statement.replace("{AB}", "'\\xab'::bytea" if on_postgresql() else "x'ab'")
    if "policy_policyversion" in statement and on_postgresql():
        execute("ALTER TABLE policy_policyversion DISABLE TRIGGER USER")
    elif "policy_policyversion" in statement:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'policy%'")
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TRIGGER {name}")
    execute(statement)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("world")
def test_accounts_that_were_renamed_or_left_since_are_explained() -> None:
    """Their decisions, tokens and requests carry the name of then."""
    for user in get_user_model().objects.all():
        user.username += "-married"
        user.email = f"{user.username}@example.com"
        user.is_active = user.username.startswith("carol")
        user.save()
    for team in Team.objects.all():
        team.members.clear()
        team.name = f"{team.name} (old)"
        team.save()
    assert compared().problems == []


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_groups_of_a_release_and_changes_through_the_orm_are_explained() -> None:
    user = get_user_model().objects.create_superuser("ann", "ann@example.com", "x")
    group = Group.objects.get(name="auditor")
    user.groups.add(group)
    other = Group.objects.create(name="own")
    other.permissions.set(group.permissions.all())
    group.permissions.clear()
    user.delete()
    assert compared().problems == []


@pytest.mark.django_db
def test_memory_does_not_grow_with_the_number_of_rows() -> None:
    """Every one of these keys is unexplained; the list of problems is cut off, the count is not."""

    def peak(rows: int) -> int:
        first = PublicKey.objects.count()
        PublicKey.objects.bulk_create(
            [PublicKey(spki_sha256=f"{n:064x}", team="web", recorded_at=now, blocked_at=now) for n in range(first, rows)],
            batch_size=2000,
        )
        comparison = Comparison()
        tracemalloc.start()
        compare_states(comparison)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (comparison.total, len(comparison.problems)) == (rows, shared.MOST)
        return highest

    now = database_now()
    small = peak(2 * shared.PAGE)
    # Six times as many rows; what the garbage collector has not looked at yet varies from run to run.
    assert peak(12 * shared.PAGE) < 2.5 * small


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], ""),
        (["request:submitted"], "submitted"),
        (["request:submitted", "allow"], "approved"),
        (["request:submitted", "needs_approval"], "awaiting_approval"),
        (["request:submitted", "needs_approval", "request:approved"], "approved"),
        (["request:submitted", "deny", "request:rejected"], "rejected"),
        (["request:submitted", "allow", "key:generated", "csr:created"], "csr_created"),
        (["request:submitted", "allow", "key:recorded", "csr:created", "allow"], "csr_created"),
        (["request:submitted", "allow", "key:generated", "request:failed"], "failed"),
        (["request:submitted", "allow", "certificate:issued"], "issued"),
        (["request:submitted", "certificate:issued", "certificate:recorded"], "completed"),
    ],
)
def test_state_of_a_request_follows_from_its_events(events: list[str], state: str) -> None:
    outcomes = ("allow", "needs_approval", "deny")
    logged = [Logged("policy:evaluated", {"outcome": e}) if e in outcomes else Logged(e, {}) for e in events]
    assert request_state(logged) == state


def test_resumed_request_is_where_its_event_says() -> None:
    failed = [Logged("request:submitted", {}), Logged("request:failed", {})]
    assert request_state([*failed, Logged("request:resumed", {"state": "key_ready"})]) == "key_ready"


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "good"),
        (["revocation_requested"], "revocation_pending"),
        (["revocation_requested", "revoked"], "revoked"),
        (["revocation_requested", "revoked", "revocation_requested"], "revoked"),
        (["revocation_requested", "revoked", "release_requested"], "revoked"),
        (["revocation_requested", "revoked", "release_requested", "released"], "good"),
    ],
)
def test_status_of_a_certificate_follows_from_its_events(events: list[str], status: str) -> None:
    logged: list[Any] = [Logged(f"certificate:{event}", {"reason": "superseded"}) for event in events]
    assert revocation_state(logged).status == status
