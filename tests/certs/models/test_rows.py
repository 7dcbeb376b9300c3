"""Rows by the batch: made without the ORM's init, held back to the end of a transaction, written in one message."""

from __future__ import annotations

import json

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext

from audit.events import EventType
from audit.log import Actor, Event, record_many, together
from audit.models import AuditEvent
from certs.models import Attempt, Certificate, CertificateName, CertificateRequest, Issuer, PolicyEvaluation, RequestCSR, Team
from certs.models.rows import insert_models, instances, new, select_query, update_later
from certs.requests.submit import Requester
from db.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
ME = Actor("system", "test")


def a_request(requester: Requester, name: str, **more: object) -> CertificateRequest:
    now = database_now()
    return new(
        CertificateRequest,
        public_id=name,
        state="submitted",
        team=requester.team,
        door="command",
        issuer=Issuer.objects.get(name="Twin-CA"),
        profile="tls-server",
        common_name=name,
        dns_names=[name],
        ip_addresses=[],
        key_type="ec-p256",
        validity_days=90,
        digest="0" * 64,
        created_at=now,
        state_changed_at=now,
        **more,
    )


@pytest.mark.parametrize("model", [CertificateRequest, RequestCSR, PolicyEvaluation, Attempt, Certificate, CertificateName])
def test_new_row_is_what_the_model_makes(model: type[models.Model]) -> None:
    theirs, ours = model(), new(model)
    names = [field.attname for field in model._meta.concrete_fields]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert (ours._state.adding, ours._state.db) == (theirs._state.adding, theirs._state.db)


def test_relations_of_a_new_row_are_known_on_both_sides() -> None:
    team = Team(pk=7)
    request = new(CertificateRequest, team=team, id=3)
    csr = new(RequestCSR, request=request)
    assert (request.team is team, request.team_id, csr.request_id, request.csr is csr) == (True, 7, 3, True)


def test_rows_read_are_what_the_orm_reads(twin_portal: Requester) -> None:
    request = a_request(twin_portal, "req-1", idempotency_scope="s", idempotency_key="k")
    insert_models([request])
    sql, parameters = select_query(CertificateRequest, "id = %s", [request.pk])
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        (ours,) = instances(CertificateRequest, cursor.fetchall())
    theirs = CertificateRequest.objects.get(pk=request.pk)
    names = [field.attname for field in CertificateRequest._meta.concrete_fields]
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert ours == theirs


def test_held_rows_and_events_are_written_together_and_parents_before_children(twin_portal: Requester) -> None:
    request, other = a_request(twin_portal, "req-1"), a_request(twin_portal, "req-2")
    now = database_now()
    with CaptureQueriesContext(connection) as statements, transaction.atomic(), together():
        insert_models([request, other])
        insert_models(
            [
                new(PolicyEvaluation, request=one, policy_version="v1", outcome="allow", checks=[], evaluated_at=now)
                for one in (request, other)
            ]
        )
        record_many([Event(EventType.REQUEST_SUBMITTED, "request:req-1", ME, now, {"n": 1})])
        request.common_name = "changed before it was written"
        assert not CertificateRequest.objects.exists()
        update_later(Team, {twin_portal.team.pk: {"name": "Later"}})
    assert [row.common_name for row in CertificateRequest.objects.order_by("pk")] == ["changed before it was written", "req-2"]
    assert set(PolicyEvaluation.objects.values_list("request_id", flat=True)) == {request.pk, other.pk}
    assert AuditEvent.objects.get(subject="request:req-1").data == {"n": 1}
    assert Team.objects.get(pk=twin_portal.team.pk).name == "Later"
    written = [q for q in statements.captured_queries if "INSERT INTO certs_" in q["sql"]]
    if connection.vendor == "postgresql":
        assert len(written) == 1, json.dumps(written, indent=1)


def _insert_again(request: CertificateRequest) -> None:
    with transaction.atomic(), together():
        insert_models([request])
        record_many([Event(EventType.REQUEST_SUBMITTED, request.subject, ME, database_now())])


def test_conflict_of_held_rows_is_raised_at_the_end_and_leaves_nothing(twin_portal: Requester) -> None:
    insert_models([a_request(twin_portal, "req-1")])
    with pytest.raises(IntegrityError):
        _insert_again(a_request(twin_portal, "req-1"))
    assert (CertificateRequest.objects.count(), AuditEvent.objects.filter(subject="request:req-1").count()) == (1, 0)


def _insert_in_vain(request: CertificateRequest) -> None:
    with transaction.atomic():
        insert_models([request])
        assert CertificateRequest.objects.filter(public_id=request.public_id).exists()
        raise ZeroDivisionError


def test_rows_within_a_savepoint_are_written_at_once_and_go_with_it(twin_portal: Requester) -> None:
    kept, gone = a_request(twin_portal, "req-1"), a_request(twin_portal, "req-2")
    with transaction.atomic(), together():
        insert_models([kept])
        with pytest.raises(ZeroDivisionError):
            _insert_in_vain(gone)
    assert list(CertificateRequest.objects.values_list("public_id", flat=True)) == ["req-1"]
