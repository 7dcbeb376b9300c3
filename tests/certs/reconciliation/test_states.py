"""The log explains every state, and whatever is written or removed behind the portal's back is named."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from audit.clock import database_now
from audit.events import EventType
from audit.log import record
from audit.vendor import on_postgresql
from certs.access.api_tokens import create_token
from certs.intake.spec import CertificateSpec
from certs.models import Certificate
from certs.reconciliation import states
from certs.reconciliation.explained import Told, request_state, revocation_state
from certs.reconciliation.missing import compare_events
from certs.reconciliation.power import compare_power
from certs.reconciliation.states import Comparison, compare_states
from certs.terms import RevocationReason as R
from certs.workflow.approval import approve, reject
from certs.workflow.compromise import revoke
from certs.workflow.issuance import Requester, submit_many
from certs.workflow.revocation import request_release
from certs.workflow.revoking import process_revocations
from keys.models import PublicKey
from tests.audit.ledger import execute
from tests.certs.workflow.life import PORTAL, SYSTEM, issued, walk
from tests.certs.workflow.test_renewal import people

MakeSpec = Callable[..., CertificateSpec]


def compared() -> Comparison:
    comparison = Comparison()
    compare_states(comparison)
    compare_power(comparison)
    compare_events(comparison)
    return comparison


@pytest.fixture
def world(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """One of everything, made by the portal: issued, renewed power, approved, revoked, held."""
    with transaction.atomic():
        record(EventType.ISSUER_CREATED, subject="issuer:twin-ca", actor=SYSTEM, at=database_now())
    who = people(twin_portal.team)
    create_token(
        user=who["alice"],
        team=twin_portal.team,
        name="ci",
        scopes=["certificates:read"],
        actor=SYSTEM,
    )
    issued(make_spec("good.example.com"), twin_portal)
    for name, reason in (
        ("revoked.example.com", R.SUPERSEDED),
        ("stolen.example.com", R.KEY_COMPROMISE),
        ("held.example.com", R.CERTIFICATE_HOLD),
        ("released.example.com", R.CERTIFICATE_HOLD),
    ):
        certificate = issued(make_spec(name), twin_portal)
        revoke(certificate, reason=reason, authority=PORTAL, begin=False)
        process_revocations()
    request_release(certificate, authority=PORTAL, begin=False)
    process_revocations()
    pending = issued(make_spec("pending.example.com"), twin_portal)
    revoke(pending, reason=R.SUPERSEDED, authority=PORTAL, begin=False)
    for decide, name in ((approve, "*.ok.example.com"), (reject, "*.no.example.com")):
        (request,) = submit_many([make_spec(name)], requester=twin_portal)
        walk([request.pk])
        request.refresh_from_db()
        decide(request, user=who["carol"], digest=request.digest, comment="seen")
    walk([request.pk for request in submit_many([make_spec(key="rsa-2048")], requester=twin_portal)])
    submit_many([make_spec("waiting.example.com")], requester=twin_portal)
    interval = IntervalSchedule.objects.create(every=5, period="seconds")
    PeriodicTask.objects.create(name="seal", task="audit.tasks.seal", interval=interval)


CERT = "(SELECT id FROM certs_certificate WHERE common_name = '{}.example.com')"
OF = f"WHERE certificate_id = {CERT}"
REQUEST = "WHERE common_name = '{}.example.com'"
A_TIME = "'2027-01-01 00:00:00'"

# What somebody with the database might do, and the kind of row that is named.
FORGERIES: list[tuple[str, str]] = [
    ("certificate", f"UPDATE certs_certificate SET status = 'good' {REQUEST.format('revoked')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'good' {REQUEST.format('pending')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'revoked' {REQUEST.format('good')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'good' {REQUEST.format('held')}"),
    ("certificate", f"UPDATE certs_certificate SET status = 'revoked' {REQUEST.format('released')}"),
    ("certificate", f"UPDATE certs_certificate SET not_after = {A_TIME} {REQUEST.format('good')}"),
    (
        "certificate",
        f"UPDATE certs_certificate SET sha256_fingerprint = 'ab' {REQUEST.format('good')}",
    ),
    ("certificate", f"UPDATE certs_certificate SET cert_id = 'cert-x' {REQUEST.format('good')}"),
    ("revocation", f"DELETE FROM certs_revocation {OF.format('revoked')}"),
    ("revocation", f"UPDATE certs_revocation SET reason = 'superseded' {OF.format('stolen')}"),
    ("revocation", f"UPDATE certs_revocation SET confirmed_at = NULL {OF.format('revoked')}"),
    ("revocation", f"UPDATE certs_revocation SET confirmed_at = {A_TIME} {OF.format('pending')}"),
    ("revocation", f"UPDATE certs_revocation SET released_at = {A_TIME} {OF.format('held')}"),
    (
        "revocation",
        f"UPDATE certs_revocation SET certificate_id = {CERT.format('good')} {OF.format('revoked')}",
    ),
    ("approval", "DELETE FROM certs_approval WHERE granted"),
    ("approval", "DELETE FROM certs_approval WHERE NOT granted"),
    ("approval", "UPDATE certs_approval SET granted = true WHERE NOT granted"),
    ("approval", "UPDATE certs_approval SET digest = 'ab' WHERE granted"),
    (
        "approval",
        "UPDATE certs_approval SET approver_id = (SELECT id FROM auth_user WHERE username = 'bob')",
    ),
    ("request", f"UPDATE certs_certificaterequest SET state = 'approved' {REQUEST.format('*.no')}"),
    ("request", f"UPDATE certs_certificaterequest SET state = 'issued' {REQUEST.format('waiting')}"),
    ("request", f"UPDATE certs_certificaterequest SET state = 'approved' {REQUEST.format('waiting')}"),
    ("request", "UPDATE certs_certificaterequest SET state = 'submitted' WHERE state = 'rejected'"),
    ("request", f"UPDATE certs_certificaterequest SET digest = 'ab' {REQUEST.format('waiting')}"),
    (
        "request",
        f"UPDATE certs_certificaterequest SET public_id = 'req-x' {REQUEST.format('waiting')}",
    ),
    ("key block", "UPDATE keys_publickey SET blocked_at = NULL, blocked_reason = ''"),
    (
        "key block",
        f"UPDATE keys_publickey SET blocked_at = {A_TIME} WHERE blocked_at IS NULL",
    ),
    ("key block", "DELETE FROM keys_publickey WHERE blocked_at IS NOT NULL"),
    ("token", f"UPDATE certs_apitoken SET revoked_at = {A_TIME}"),
    ("token", "UPDATE certs_apitoken SET scopes = '[\"certificates:revoke\"]'"),
    (
        "token",
        "UPDATE certs_apitoken SET user_id = (SELECT id FROM auth_user WHERE username = 'carol')",
    ),
    ("token", "DELETE FROM certs_apitoken"),
    ("issuer", "UPDATE certs_issuer SET state = 'distrusted'"),
    ("policy version", "UPDATE policy_policyversion SET version = 'v9'"),
    ("user", "UPDATE auth_user SET is_superuser = true WHERE username = 'bob'"),
    ("user", "UPDATE auth_user SET email = 'eve@example.com' WHERE username = 'carol'"),
    (
        "user",
        (
            "INSERT INTO auth_user_groups (user_id, group_id) SELECT u.id, g.id FROM auth_user u, "
            "auth_group g WHERE u.username = 'bob' AND g.name = 'security-team'"
        ),
    ),
    (
        "user",
        (
            "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, "
            f"last_name, email, date_joined) VALUES ('eve', '', true, true, true, '', '', '', {A_TIME})"
        ),
    ),
    ("team", "DELETE FROM certs_team_members"),
    ("team", "UPDATE certs_team SET organization = 'Evil'"),
    ("domain", "UPDATE certs_domain SET name = 'evil.example'"),
    ("domain", "INSERT INTO certs_domain (name, team_id) SELECT 'x.test', id FROM certs_team"),
    ("domain", "DELETE FROM certs_domain"),
    ("profile", "UPDATE policy_profile SET subject_organization = 'Evil'"),
    ("schedule", "UPDATE django_celery_beat_periodictask SET enabled = false"),
    ("schedule", "UPDATE django_celery_beat_intervalschedule SET every = 100000"),
    ("group", "INSERT INTO auth_group (name) VALUES ('shadow')"),
    (
        "group",
        "DELETE FROM auth_group_permissions WHERE group_id IN (SELECT id FROM auth_group WHERE name = 'security-team')",
    ),
]


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("world")
def test_every_state_written_or_removed_by_sql_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """S6, and the state tables against the log (PROTOCOLS 8). Small pages: none is left out."""
    monkeypatch.setattr(states, "PAGE", 3)
    monkeypatch.setattr("certs.reconciliation.missing.PAGE", 3)
    monkeypatch.setattr("certs.reconciliation.power.PAGE", 3)
    assert compared().problems == []
    call_command("verify_states", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["success"], told["problems"]) == (True, [])
    assert told["compared"]["certificates"] == Certificate.objects.count() == 6
    assert {"requests", "approvals", "revocations", "blocked keys", "tokens", "issuers"} <= set(told["compared"])
    unnoticed = []
    for kind, statement in FORGERIES:
        with transaction.atomic():
            _forged(statement)
            problems = compared().problems
            if kind not in {one.kind for one in problems}:
                unnoticed.append((kind, statement, problems))
            transaction.set_rollback(True)
    assert unnoticed == []
    Certificate.objects.filter(common_name="good.example.com").update(status="revoked")
    with pytest.raises(SystemExit) as ended:
        call_command("verify_states")
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "status is revoked, but the log says good" in shown
    assert "What to do" in shown


def _forged(statement: str) -> None:
    """As the owner of the tables, who may put the trigger of published policies out of force."""
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
        assert (comparison.total, len(comparison.problems)) == (rows, states.MOST)
        return highest

    now = database_now()
    small = peak(2 * states.PAGE)
    assert peak(12 * states.PAGE) < 1.5 * small


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
    told = [Told("policy:evaluated", {"outcome": e}) if e in outcomes else Told(e, {}) for e in events]
    assert request_state(told) == state


def test_resumed_request_is_where_its_event_says() -> None:
    failed = [Told("request:submitted", {}), Told("request:failed", {})]
    assert request_state([*failed, Told("request:resumed", {"state": "key_ready"})]) == "key_ready"


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
    told: list[Any] = [Told(f"certificate:{event}", {"reason": "superseded"}) for event in events]
    assert revocation_state(told).status == status
