"""Lines are judged a part at a time: what breaks off in between was never an order, and no twin is overlooked between parts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections

from certs import fault_points
from certs.access.permissions import Authority
from certs.bulk.control import cancel_rest
from certs.bulk.drafting import draft
from certs.bulk.drafting.draft import apply_suggestions, forget_broken_drafts
from certs.bulk.order_now import LinesRefused, OrderOptions, judge_lines, order_at_once
from certs.bulk.submit import submit_order
from certs.errors import Conflict
from certs.models import BulkItem, BulkOrder, Certificate, CertificateRequest
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.bulk.orders import drafted, lines_for, work_off_all
from tests.certs.issuance.test_schedules import walk
from tests.certs.lanes import Crash
from tests.certs.life import new_policy

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    monkeypatch.setattr(draft, "JUDGED_AT_ONCE", 2)
    settings.PKI_BULK_CHUNK, settings.PKI_BULK_IN_FLIGHT = 2, 2
    yield
    fault_points.observe(None)


def keyed(requester: Requester) -> Requester:
    return replace(requester, idempotency_scope="user:1", idempotency_key="k")


def names(make_spec: MakeSpec, count: int) -> list[CertificateSpec]:
    return [make_spec(f"n{number}.example.com") for number in range(count)]


def at_part(number: int, act: Callable[[], None]) -> None:
    """`act` when that part is judged and not yet written."""
    seen = Counter[str]()

    def observer(step: str, _beat: str) -> None:
        seen[step] += 1
        if step == "draft" and seen[step] == number:
            act()

    fault_points.observe(observer)


def die() -> None:
    raise Crash


def broken_off(requester: Requester, make_spec: MakeSpec) -> BulkOrder:
    """An order of which two parts of three are there; its process is gone."""
    at_part(3, die)
    with pytest.raises(Crash):
        drafted(names(make_spec, 5), requester)
    fault_points.observe(None)
    return BulkOrder.objects.get()


def test_others_write_between_two_parts(twin_portal: Requester, make_spec: MakeSpec) -> None:
    found: list[tuple[bool, int]] = []

    def look() -> None:
        def write() -> None:
            try:
                person("meanwhile")
                found.append((connection.in_atomic_block, BulkItem.objects.count()))
            finally:
                connections.close_all()

        other = threading.Thread(target=write)
        other.start()
        other.join(10)
        assert not other.is_alive()

    at_part(3, look)
    order = drafted(names(make_spec, 5), twin_portal)
    assert found == [(False, 4)]
    assert (order.state, list(order.items.order_by("number").values_list("number", flat=True))) == ("draft", [1, 2, 3, 4, 5])


def test_what_broke_off_is_nobodys_order(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = broken_off(twin_portal, make_spec)
    assert (order.state, order.items.count()) == ("judging", 4)
    root = get_user_model().objects.create_superuser("root")
    assert not BulkOrder.objects.visible_to(root).exists()
    for forbidden in (
        lambda: submit_order(order, authority=Authority(twin_portal.actor)),
        lambda: cancel_rest(order, authority=Authority(twin_portal.actor)),
        lambda: apply_suggestions(order, authority=Authority(twin_portal.actor)),
    ):
        with pytest.raises(Conflict):
            forbidden()
    assert (order.chunks.count(), CertificateRequest.objects.count()) == (0, 0)


def test_sweeper_deletes_what_broke_off_and_nothing_younger(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = broken_off(twin_portal, make_spec)
    assert forget_broken_drafts() == 0
    BulkOrder.objects.update(judged_at=database_now() - draft.BROKEN_AFTER - timedelta(seconds=1))
    kept = drafted([make_spec("kept.example.com")], twin_portal)
    assert forget_broken_drafts() == 1
    assert (BulkOrder.objects.get().pk, BulkItem.objects.filter(order=order.pk).count()) == (kept.pk, 0)


def test_the_next_try_under_its_key_takes_the_place_of_what_broke_off(
    twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "WAIT_SECONDS", 0.3)
    broken = broken_off(keyed(twin_portal), make_spec)
    with pytest.raises(Conflict, match="still being judged"):
        drafted(names(make_spec, 5), keyed(twin_portal))
    BulkOrder.objects.update(judged_at=database_now() - draft.BROKEN_AFTER - timedelta(seconds=1))
    order = drafted(names(make_spec, 5), keyed(twin_portal))
    assert (order.pk != broken.pk, order.items.count(), BulkOrder.objects.count()) == (True, 5, 1)


def test_a_drafter_who_was_given_up_writes_nothing_more(twin_portal: Requester, make_spec: MakeSpec) -> None:
    def give_up() -> None:
        BulkOrder.objects.update(judged_at=database_now() - timedelta(hours=1))
        assert forget_broken_drafts() == 1

    at_part(2, give_up)
    with pytest.raises(Conflict, match="given up"):
        drafted(names(make_spec, 5), twin_portal)
    assert (BulkOrder.objects.count(), BulkItem.objects.count()) == (0, 0)


def test_the_same_order_twice_at_once_is_one(twin_portal: Requester, make_spec: MakeSpec) -> None:
    orders: list[int] = []

    def second() -> None:
        try:
            orders.append(order_at_once(lines_for(names(make_spec, 5)), requester=keyed(twin_portal), title="x", options=OrderOptions()).pk)
        finally:
            connections.close_all()

    other = threading.Thread(target=second)

    def meanwhile() -> None:
        fault_points.observe(None)
        other.start()
        time.sleep(0.3)  # it waits for us now; it would be right all the same if it did not yet

    at_part(2, meanwhile)
    first = order_at_once(lines_for(names(make_spec, 5)), requester=keyed(twin_portal), title="x", options=OrderOptions())
    other.join(20)
    assert (orders, BulkOrder.objects.count(), first.state) == ([first.pk], 1, "running")


def test_what_is_refused_at_once_or_only_judged_leaves_nothing(twin_portal: Requester, make_spec: MakeSpec) -> None:
    lines = lines_for([*names(make_spec, 3), make_spec("weak.example.com", key="rsa-2048")])
    assert judge_lines(lines, requester=keyed(twin_portal), title="x")["outcomes"]["deny"] == 1
    with pytest.raises(LinesRefused):
        order_at_once(lines, requester=keyed(twin_portal), title="x", options=OrderOptions(all_or_nothing=True))
    assert (BulkOrder.objects.count(), BulkItem.objects.count()) == (0, 0)
    order = order_at_once(lines, requester=keyed(twin_portal), title="x", options=OrderOptions(only_allowed=True))
    assert (order.state, order.total, order.not_submitted) == ("running", 4, 1)


def test_twins_are_pointed_out_across_parts(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted([*names(make_spec, 4), make_spec("n0.example.com", key="ec-p384")], twin_portal)
    assert [item.duplicate for item in order.items.order_by("number")] == ["", "", "", "", "same names as row 1"]


@pytest.mark.parametrize("place", [1, 4])  # in the same part and chunk as its twin, and in another
def test_where_duplicates_are_forbidden_a_twin_is_refused(twin_portal: Requester, make_spec: MakeSpec, place: int) -> None:
    new_policy("v3", duplicates={"inventory": "deny"})
    specs = [*names(make_spec, 4)]
    specs.insert(place, make_spec("n0.example.com", key="ec-p384"))
    order = drafted(specs, twin_portal)
    refused = order.items.get(outcome="deny")
    assert (refused.number, refused.reason) == (place + 1, "Row 1 asks for the same names")
    submit_order(order, authority=Authority(twin_portal.actor), with_refused=True)
    work_off_all()
    assert Counter(Certificate.objects.values_list("common_name", flat=True)) == Counter(f"n{n}.example.com" for n in range(4))
    assert CertificateRequest.objects.get(state="rejected").bulk_item_id == refused.pk


def test_a_twin_of_a_line_that_is_refused_itself_may_have_it(twin_portal: Requester, make_spec: MakeSpec) -> None:
    new_policy("v3", duplicates={"inventory": "deny"})
    order = drafted([make_spec("a.example.com", key="rsa-2048"), make_spec("a.example.com")], twin_portal)
    assert list(order.items.order_by("number").values_list("outcome", flat=True)) == ["deny", "allow"]
    submit_order(order, authority=Authority(twin_portal.actor), with_refused=True)
    work_off_all()
    assert Certificate.objects.count() == 1


def test_of_two_requests_under_way_for_the_same_names_the_older_has_it(twin_portal: Requester, make_spec: MakeSpec) -> None:
    new_policy("v3", duplicates={"inventory": "deny"})
    first, second = (submit(make_spec("a.example.com"), requester=twin_portal) for _ in range(2))
    walk([second.pk])  # goes first, and is the younger one all the same
    walk([first.pk])
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("completed", "rejected")
    assert f"Request {first.public_id} asks for the same names" in second.error
