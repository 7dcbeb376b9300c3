"""The table of request states, and its only writer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from audit.events import EventType
from audit.log import Actor, UnitOfWork
from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.models import CertificateRequest
from certs.requests.states import CANCELLABLE, FINAL, TRANSITIONS, UNFINISHED, Move, lock_ready, note_reasons, transition_many
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
ACTOR = Actor("command", "test")


def test_every_state_has_a_row_and_every_way_ends() -> None:
    assert set(TRANSITIONS) == set(S)
    assert set().union(*TRANSITIONS.values()) <= set(S)
    assert set(FINAL) == {S.COMPLETED, S.REJECTED, S.CANCELLED}
    reached = {S.SUBMITTED}
    while more := {there for here in reached for there in TRANSITIONS[here]} - reached:
        reached |= more
    assert reached == set(S)


def test_a_request_that_has_a_certificate_is_neither_cancelled_nor_rejected() -> None:
    assert S.ISSUED not in CANCELLABLE
    assert TRANSITIONS[S.ISSUED] == {S.COMPLETED}
    assert set(CANCELLABLE).isdisjoint(FINAL)
    assert set(UNFINISHED).isdisjoint({S.FAILED, *FINAL})


@pytest.fixture
def rows(twin_portal: Requester, make_spec: MakeSpec) -> list[CertificateRequest]:
    return submit_many([make_spec(f"h{number}.example.com") for number in range(2)], requester=twin_portal)


def put(rows: list[CertificateRequest], state: S, **more: object) -> list[CertificateRequest]:
    CertificateRequest.objects.filter(pk__in=[row.pk for row in rows]).update(state=state, **more)
    return list(CertificateRequest.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk"))


def move(rows: list[CertificateRequest], path: tuple[S, ...], *, source: S, **fields: object) -> set[int]:
    events = ((EventType.REQUEST_CANCELLED, {"state": str(source)}),)
    with UnitOfWork() as work:
        return transition_many(work, [Move(row, path, events, fields) for row in rows], source=source, actor=ACTOR, now=database_now())


def events_of(row: CertificateRequest) -> list[tuple[str, str]]:
    found = AuditEvent.objects.filter(subject=row.subject).exclude(event="request:submitted").order_by("pk")
    return [(event.event, event.actor_name) for event in found]


def test_a_way_that_the_table_does_not_have_is_an_error() -> None:
    for source, target in product(S, S):
        if target in TRANSITIONS[source]:
            continue
        row = CertificateRequest(state=source)
        with pytest.raises(ValueError, match=f"no transition from {source} to {target}"), UnitOfWork() as work:
            transition_many(work, [Move(row, (target,), ())], source=source, actor=ACTOR, now=database_now())
        assert row.state == source


def test_a_move_without_a_state_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one state"), UnitOfWork() as work:
        transition_many(work, [Move(CertificateRequest(), (), ())], source=S.SUBMITTED, actor=ACTOR, now=database_now())


def test_a_path_through_several_states_is_checked_step_by_step(rows: list[CertificateRequest]) -> None:
    rows = put(rows, S.CSR_CREATED)
    assert move(rows, (S.ISSUED, S.COMPLETED), source=S.CSR_CREATED) == {row.pk for row in rows}
    assert {row.state for row in CertificateRequest.objects.all()} == {S.COMPLETED}
    with pytest.raises(ValueError, match="no transition from issued to cancelled"):
        move(put(rows, S.CSR_CREATED), (S.ISSUED, S.CANCELLED), source=S.CSR_CREATED)


def test_state_time_fields_and_event_are_written_together(rows: list[CertificateRequest]) -> None:
    before = rows[0].state_changed_at
    assert move(rows, (S.CANCELLED,), source=S.SUBMITTED, suggestion="Ask again.") == {row.pk for row in rows}
    for row in CertificateRequest.objects.order_by("pk"):
        assert (row.state, row.suggestion, row.state_changed_at > before) == (S.CANCELLED, "Ask again.", True)
        assert events_of(row) == [("request:cancelled", "test")]


def test_a_request_in_another_state_is_left_alone_and_gets_no_event(rows: list[CertificateRequest]) -> None:
    first, second = put(rows[:1], S.APPROVED) + rows[1:]
    assert move([first, second], (S.CANCELLED,), source=S.SUBMITTED) == {second.pk}
    first.refresh_from_db()
    assert (first.state, events_of(first)) == (S.APPROVED, [])


def test_nothing_moves_where_one_of_the_paths_is_wrong(rows: list[CertificateRequest]) -> None:
    moves = [Move(rows[0], (S.APPROVED,), ()), Move(rows[1], (S.COMPLETED,), ())]
    with pytest.raises(ValueError, match="no transition"), UnitOfWork() as work:
        transition_many(work, moves, source=S.SUBMITTED, actor=ACTOR, now=database_now())
    assert {row.state for row in CertificateRequest.objects.all()} == {S.SUBMITTED}


def test_a_request_that_moves_on_has_no_reason_to_wait_any_more(rows: list[CertificateRequest]) -> None:
    rows = put(rows, S.APPROVED, error="Key backend unavailable")
    move(rows[:1], (S.KEY_READY,), source=S.APPROVED)
    move(rows[1:], (S.FAILED,), source=S.APPROVED, error="Three workers died.")
    first, second = CertificateRequest.objects.order_by("pk")
    assert (first.error, second.error) == ("", "Three workers died.")


def test_a_reason_is_written_once_and_cut_to_what_the_column_holds(rows: list[CertificateRequest]) -> None:
    for _ in range(2):
        with UnitOfWork() as work:
            note_reasons(work, [(row, "x" * 1500) for row in CertificateRequest.objects.order_by("pk")])
    assert {row.error for row in CertificateRequest.objects.all()} == {"x" * 1000}


def test_only_requests_in_those_states_that_are_not_held_are_ready(rows: list[CertificateRequest]) -> None:
    first, second = rows
    put([first], S.APPROVED)
    put([second], S.KEY_READY)
    ids = [first.pk, second.pk]

    def ready(*states: S) -> list[int]:
        with UnitOfWork():
            found = lock_ready(ids, states)
            assert all(row.team.slug == "web" and row.issuer.name == "Twin-CA" for row in found)
            return [row.pk for row in found]

    assert ready(S.APPROVED, S.KEY_READY) == ids
    assert ready(S.KEY_READY) == [second.pk]
    put([first], S.APPROVED, held_since=database_now())
    assert ready(S.APPROVED, S.KEY_READY) == [second.pk]
    assert ready(S.SUBMITTED) == []
