"""A draft: every line judged, duplicates pointed out, suggestions that really pass, one order for one key."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.control import cancel_rest
from certs.bulk.drafting.draft import apply_suggestions, draft, forget_old_drafts, outcome_counts
from certs.bulk.submit import submit_order
from certs.errors import Conflict, InputRefused
from certs.models import BulkItem, BulkOrder, CertificateRequest, Team
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from db.clock import database_now
from tests.cast import person
from tests.certs.bulk.orders import drafted, lines_for, work_off_all

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_each_line_is_judged_and_nothing_is_made(twin_portal: Requester, make_spec: MakeSpec) -> None:
    lines = [
        *lines_for([make_spec("a.example.com"), make_spec("b.example.com", key="rsa-2048")]),
        Line(4, "row 4", None, problem="no name"),
    ]
    order = draft(lines, requester=twin_portal, title="three")
    assert [(item.outcome, item.reason) for item in order.items.order_by("number")] == [
        ("allow", ""),
        ("deny", "Key size 2048 below minimum 3072"),
        ("invalid", "no name"),
    ]
    assert outcome_counts(order) == {"allow": 1, "needs_approval": 0, "deny": 1, "invalid": 1}
    assert (CertificateRequest.objects.count(), AuditEvent.objects.filter(event__startswith="bulk:").count()) == (0, 0)


def test_suggestions_pass_once_they_are_taken(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted([make_spec("a.example.com", key="rsa-2048", days=900), make_spec("b.example.com")], twin_portal)
    assert apply_suggestions(order, authority=Authority(twin_portal.actor)) == 1
    item = order.items.get(number=1)
    assert (item.outcome, item.spec["key"], item.spec["validity_days"]) == ("allow", "rsa-3072", 397)  # type: ignore[index]
    assert "policy suggested" in item.notes[-1]
    assert apply_suggestions(order, authority=Authority(twin_portal.actor)) == 0


def test_one_line_alone_takes_its_suggestion(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted([make_spec(f"{n}.example.com", key="rsa-2048") for n in "abc"], twin_portal)
    assert apply_suggestions(order, authority=Authority(twin_portal.actor), numbers=[2]) == 1
    assert list(order.items.order_by("number").values_list("outcome", flat=True)) == ["deny", "allow", "deny"]


def test_duplicates_are_pointed_out_within_and_against_the_inventory(twin_portal: Requester, make_spec: MakeSpec) -> None:
    submit_order(drafted([make_spec("old.example.com")], twin_portal), authority=Authority(twin_portal.actor))
    work_off_all()
    order = drafted([make_spec("a.example.com"), make_spec("a.example.com", key="ec-p384"), make_spec("old.example.com")], twin_portal)
    first, second, third = order.items.order_by("number")
    assert (first.duplicate, second.duplicate) == ("", "same names as row 1")
    assert re.fullmatch("cert-[0-9a-f-]+ has the same names and is valid", third.duplicate)


def test_owner_must_be_a_team_of_the_requester(twin_portal: Requester, make_spec: MakeSpec) -> None:
    user = person("alice", team=twin_portal.team)
    Team.objects.create(slug="other", name="Other", default_domain="other.test")
    alice = Requester(actor=twin_portal.actor, team=twin_portal.team, channel="portal", user=user)
    order = draft([Line(2, "row 2", make_spec(), owner="other"), Line(3, "row 3", make_spec(), owner="web")], requester=alice, title="x")
    refused, fine = order.items.order_by("number")
    assert (refused.outcome, "not a member" in refused.reason, fine.outcome) == ("invalid", True, "allow")


def test_the_same_key_is_the_same_order_and_another_content_is_refused(twin_portal: Requester, make_spec: MakeSpec) -> None:
    keyed = Requester(twin_portal.actor, twin_portal.team, "api", idempotency_scope="token:1", idempotency_key="k")
    first = drafted([make_spec("a.example.com")], keyed)
    assert drafted([make_spec("a.example.com")], keyed).pk == first.pk
    with pytest.raises(Conflict):
        drafted([make_spec("b.example.com")], keyed)
    assert BulkOrder.objects.count() == 1


def test_submitted_lines_never_change(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = submit_order(drafted([make_spec("a.example.com")], twin_portal), authority=Authority(twin_portal.actor))
    with pytest.raises(Conflict):
        apply_suggestions(order, authority=Authority(twin_portal.actor))


def test_an_order_needs_a_line_that_can_be_issued(twin_portal: Requester, make_spec: MakeSpec) -> None:
    with pytest.raises(InputRefused):
        draft([], requester=twin_portal, title="none")
    order = drafted([make_spec("a.example.com", key="rsa-2048")], twin_portal)
    with pytest.raises(InputRefused):
        submit_order(order, authority=Authority(twin_portal.actor))


def test_limit_of_lines_is_said(twin_portal: Requester, make_spec: MakeSpec, settings: object) -> None:
    settings.PKI_BULK_MAX_LINES = 2  # type: ignore[attr-defined]
    with pytest.raises(InputRefused, match="3 lines are more than 2"):
        drafted([make_spec(f"{n}.example.com") for n in "abc"], twin_portal)


def test_a_draft_that_was_thrown_away_is_not_submitted(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted([make_spec()], twin_portal)
    cancel_rest(order, authority=Authority(twin_portal.actor))
    with pytest.raises(Conflict):
        submit_order(order, authority=Authority(twin_portal.actor))
    assert BulkItem.objects.filter(order=order).count() == 1


def test_drafts_that_nobody_submits_are_forgotten(twin_portal: Requester, make_spec: MakeSpec) -> None:
    old, new = drafted([make_spec("a.example.com")], twin_portal), drafted([make_spec("b.example.com")], twin_portal)
    kept = submit_order(drafted([make_spec("c.example.com")], twin_portal), authority=Authority(twin_portal.actor))
    BulkOrder.objects.exclude(pk=new.pk).update(created_at=database_now() - timedelta(days=8))
    assert forget_old_drafts() == 1
    assert set(BulkOrder.objects.values_list("pk", flat=True)) == {new.pk, kept.pk}
    assert not BulkItem.objects.filter(order=old.pk).exists()
