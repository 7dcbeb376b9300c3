"""What a person does with an order as a whole: submit, pause, go on, cancel, try again; and every state that refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from audit.models import AuditEvent
from certs.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.bulk.submit import submit_order
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import BulkOrder, CertificateRequest
from certs.spec import CertificateSpec
from tests.cast import Cast
from tests.certs.bulk.orders import drafted, work_off_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
State = BulkOrder.State
ACCEPTS: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "pause": (pause, {State.RUNNING, State.PAUSED}),
    "go on": (go_on, {State.PAUSED}),
    "cancel": (cancel_rest, {State.DRAFT, State.RUNNING, State.PAUSED}),
}


@pytest.fixture
def order(cast: Cast, make_spec: MakeSpec) -> BulkOrder:
    return drafted([make_spec("a.example.com"), make_spec("b.example.com")], cast.requester("requester"))


def put(order: BulkOrder, state: str) -> BulkOrder:
    BulkOrder.objects.filter(pk=order.pk).update(state=state)
    order.refresh_from_db()
    return order


def events(order: BulkOrder) -> list[str]:
    return list(AuditEvent.objects.filter(subject=order.subject).order_by("pk").values_list("event", flat=True))


@pytest.mark.parametrize("verb", ["go on", "cancel"])
@pytest.mark.parametrize("state", sorted(State.values))
def test_a_verb_is_refused_in_every_other_state_and_leaves_the_order_as_it_is(cast: Cast, order: BulkOrder, verb: str, state: str) -> None:
    act, accepted = ACCEPTS[verb]
    put(order, state)
    before = events(order)
    if state in accepted:
        act(order, authority=cast.authority("colleague"))
        assert len(events(order)) == len(before) + 1
        return
    with pytest.raises(Conflict, match=f"{order.public_id} is "):
        act(order, authority=cast.authority("colleague"))
    order.refresh_from_db()
    assert (order.state, events(order)) == (state, before)


@pytest.mark.parametrize("state", sorted(set(State.values) - ACCEPTS["pause"][1]))
def test_what_does_not_run_is_not_paused(cast: Cast, order: BulkOrder, state: str) -> None:
    put(order, state)
    with pytest.raises(Conflict):
        pause(order, authority=cast.authority("requester"))


def test_an_order_is_submitted_once_however_often_it_is_asked_for(cast: Cast, order: BulkOrder) -> None:
    first = submit_order(order, authority=cast.authority("requester"))
    again = submit_order(order, authority=cast.authority("colleague"))
    assert (first.state, again.pk, again.submitter) == (State.RUNNING, first.pk, cast["requester"])
    assert events(order).count("bulk:submitted") == 1


def test_an_order_without_a_line_that_can_be_issued_is_not_submitted(cast: Cast, make_spec: MakeSpec) -> None:
    order = drafted([make_spec("a.elsewhere.test")], cast.requester("requester"))
    with pytest.raises(InputRefused, match="No line of this order can be issued") as refused:
        submit_order(order, authority=cast.authority("requester"))
    assert refused.value.field == "items"


def test_a_draft_that_was_thrown_away_is_not_submitted(cast: Cast, order: BulkOrder) -> None:
    cancel_rest(order, authority=cast.authority("requester"))
    with pytest.raises(Conflict, match="thrown away"):
        submit_order(order, authority=cast.authority("requester"))


def test_an_order_that_is_being_evaluated_is_not_submitted_yet(cast: Cast, order: BulkOrder) -> None:
    with pytest.raises(Conflict) as refused:
        submit_order(put(order, State.JUDGING), authority=cast.authority("requester"))
    assert refused.value.next_step


def test_an_order_of_somebody_who_was_deactivated_is_submitted_by_nobody(cast: Cast, make_spec: MakeSpec) -> None:
    order = drafted([make_spec()], cast.requester("leaver"))
    cast["leaver"].is_active = False
    cast["leaver"].save()
    with pytest.raises(NotPermitted, match="has left") as refused:
        submit_order(BulkOrder.objects.get(pk=order.pk), authority=cast.authority("colleague"))
    assert refused.value.field == "requester"


def test_only_lines_that_failed_are_tried_again_and_only_once_at_a_time(cast: Cast, order: BulkOrder) -> None:
    submit_order(order, authority=cast.authority("requester"))
    work_off_all()
    with pytest.raises(Conflict, match=r"No line of .* failed"):
        retry_failed(order, authority=cast.authority("requester"))
    row = CertificateRequest.objects.order_by("pk")[0]
    CertificateRequest.objects.filter(pk=row.pk).update(state="failed", stopped_at="approved")
    assert retry_failed(order, authority=cast.authority("requester")) == 1
    with pytest.raises(Conflict, match="wait for their turn already"):
        retry_failed(order, authority=cast.authority("requester"))
    order.refresh_from_db()
    assert (order.state, events(order).count("bulk:retried")) == (State.RUNNING, 1)
