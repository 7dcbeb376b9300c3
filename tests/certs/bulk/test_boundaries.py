"""Orders at the boundaries between begun and not begun, drafted and submitted, one CA and the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.control import cancel_rest, go_on, pause
from certs.bulk.drafting.draft import draft
from certs.bulk.export import download
from certs.bulk.line_pages import SeenLine, Show, Sort, hidden_lines, lines_page
from certs.bulk.progress import counts
from certs.bulk.submit import submit_order
from certs.errors import InputRefused, NotPermitted
from certs.evidence.events import Selection, page_of
from certs.evidence.subjects import sources_of
from certs.issuance.synchronous import Call
from certs.models import BulkOrder, Certificate, CertificateRequest, Domain, Issuer, Team, teams_seen_by
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from tests.cast import person
from tests.certs.bulk.orders import begin, drafted, work_off, work_off_all
from tests.certs.issuance.test_synchronous import brought
from tests.portal.external import issue_calls

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def small_chunks(settings: Any) -> None:
    settings.PKI_BULK_CHUNK, settings.PKI_BULK_IN_FLIGHT = 3, 2


def names(make_spec: MakeSpec, count: int) -> list[CertificateSpec]:
    return [make_spec(f"n{number}.example.com") for number in range(count)]


def submitted(specs: list[CertificateSpec], requester: Requester) -> BulkOrder:
    return submit_order(drafted(specs, requester), authority=Authority(requester.actor))


def test_cancelled_order_begins_nothing_though_its_chunks_are_in_the_queue(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = submitted(names(make_spec, 9), twin_portal)
    dispatch.dispatch()
    first, second = order.chunks.filter(state="queued").order_by("first")
    begun = begin(first.pk)
    cancel_rest(order, authority=Authority(twin_portal.actor))
    assert len(begun) == 3
    assert begin(second.pk) == []  # its message arrives only now
    work_off(first)
    work_off(second)
    dispatch.sweep_chunks()
    order.refresh_from_db()
    tally = counts(order)
    assert (order.state, tally.issued, tally.cancelled, order.finished_at is not None) == ("cancelled", 3, 6, True)
    assert CertificateRequest.objects.count() == 3


def test_paused_order_begins_nothing_though_its_chunks_are_in_the_queue(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = submitted(names(make_spec, 9), twin_portal)
    dispatch.dispatch()
    pause(order, authority=Authority(twin_portal.actor))
    for chunk in order.chunks.all():
        assert begin(chunk.pk) == []
    assert (dispatch.sweep_chunks(), CertificateRequest.objects.count(), order.chunks.filter(state="waiting").count()) == (0, 0, 3)
    go_on(order, authority=Authority(twin_portal.actor))
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued, Certificate.objects.count()) == ("done", 9, 9)


def rolled_over(twin_portal: Requester) -> Issuer:
    """The CA's successor, at the same client: the old one takes no orders any more."""
    old = Issuer.objects.get()
    new = Issuer.objects.create(
        name="Next CA", slug="next-ca", alias=old.alias, trust_anchor_der=old.trust_anchor_der, created_at=old.created_at
    )
    Issuer.objects.filter(pk=old.pk).update(state=Issuer.State.REVOCATION_ONLY, successor=new)
    return new


def test_order_goes_on_at_the_ca_that_took_over(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = submitted(names(make_spec, 9), twin_portal)
    dispatch.dispatch()
    for chunk in order.chunks.filter(state="queued"):
        work_off(chunk)
        break
    new = rolled_over(twin_portal)
    work_off_all()
    order.refresh_from_db()
    assert (order.state, counts(order).issued) == ("done", 9)
    assert Certificate.objects.filter(issuer=new).count() == 6


def test_draft_of_a_ca_that_was_retired_is_not_submitted(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = drafted(names(make_spec, 1), twin_portal)
    Issuer.objects.update(state=Issuer.State.REVOCATION_ONLY)
    with pytest.raises(InputRefused):
        submit_order(order, authority=Authority(twin_portal.actor))
    order.refresh_from_db()
    assert (order.state, order.chunks.count()) == ("draft", 0)


def test_draft_of_somebody_who_left_is_not_submitted_by_others(twin_portal: Requester, make_spec: MakeSpec) -> None:
    alice = person("alice")
    other = Team.objects.create(slug="other", name="Other", default_domain="other.test")
    for team in (twin_portal.team, other):
        team.members.add(alice)
    asking = Requester(Actor("user", "alice"), twin_portal.team, "portal", user=alice)
    lines = [Line(1, "row 1", make_spec("a.example.com")), Line(2, "row 2", make_spec("b.example.com"), owner="other")]
    order = draft(lines, requester=asking, title="two teams")
    order.items.update(outcome="allow")
    other.members.remove(alice)
    with pytest.raises(NotPermitted):
        submit_order(order, authority=Authority(Actor("user", "bob")))
    other.members.add(alice)
    get_user_model().objects.update(is_active=False)
    with pytest.raises(NotPermitted):
        submit_order(order, authority=Authority(Actor("user", "bob")))
    assert CertificateRequest.objects.count() == 0


def test_audit_log_says_who_drafted_and_who_submitted(twin_portal: Requester, make_spec: MakeSpec) -> None:
    order = submit_order(drafted(names(make_spec, 1), twin_portal), authority=Authority(Actor("user", "bob")))
    work_off_all()
    event = AuditEvent.objects.get(event="bulk:submitted", subject=order.subject)
    assert (event.actor_name, event.data["drafted_by"]) == ("bob", twin_portal.actor.name)
    assert AuditEvent.objects.get(event="request:submitted").actor_name == "bob"


@pytest.mark.parametrize("sort", list(Sort))
def test_every_line_is_on_one_page_in_any_order(sort: Sort, twin_portal: Requester, make_spec: MakeSpec) -> None:
    specs = names(make_spec, 12)
    specs[2] = specs[7] = make_spec("weak.example.com", key="rsa-2048")
    order = submit_order(drafted(specs, twin_portal), authority=Authority(twin_portal.actor), with_refused=True)
    dispatch.dispatch()
    for chunk in order.chunks.filter(state="queued"):
        work_off(chunk)
    pause(BulkOrder.objects.get(pk=order.pk), authority=Authority(twin_portal.actor))
    for number, error in ((4, "No route."), (9, "Backend away."), (11, "No route.")):
        CertificateRequest.objects.filter(bulk_item__order=order, bulk_item__number=number).update(error=error, state="failed")
    for size in (1, 5):
        found = walked(order, sort, size=size)
        assert sorted(line.item.number for line in found) == list(range(1, 13))
        shown = [_sorted_by(sort, line) for line in found]
        assert shown == sorted(shown, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", [Sort.REASON, Sort.REASON_DOWN])
def test_lines_of_a_draft_with_a_reason_stand_together(sort: Sort, twin_portal: Requester, make_spec: MakeSpec) -> None:
    specs = names(make_spec, 7)
    specs[2] = specs[5] = make_spec("weak.example.com", key="rsa-2048")
    order = drafted(specs, twin_portal)
    found = walked(order, sort, size=2)
    assert [bool(line.item.reason) for line in found] in ([False] * 5 + [True] * 2, [True] * 2 + [False] * 5)
    assert bool(found[0].item.reason) is (sort is Sort.REASON_DOWN)
    shown = [(line.item.reason, line.item.number) for line in found]
    assert shown == sorted(shown, reverse=sort is Sort.REASON_DOWN)


def walked(order: BulkOrder, sort: Sort, *, size: int) -> list[SeenLine]:
    """Return all lines of an order, page by page."""
    found: list[SeenLine] = []
    after = 0
    while True:
        page = lines_page(order, Show.ALL, teams=None, sort=sort, after=after, size=size)
        found += page.rows
        after = page.after
        if not after:
            return found


def _sorted_by(sort: Sort, line: SeenLine) -> tuple[str, int]:
    """Return by what a line of a submitted order stands where it does."""
    error = line.request.error if line.request else line.item.reason
    column = {"line": "", "name": line.item.common_name, "reason": error}[sort.removeprefix("-")]
    return column, line.item.number


def test_of_two_teams_with_the_same_key_the_first_one_has_it(twin_portal: Requester, make_spec: MakeSpec) -> None:
    other = Team.objects.create(slug="aaa", name="Other", default_domain="other.test")
    Domain.objects.create(name="other.test", team=other)
    copied = brought(make_spec, "a.example.com")
    copy = replace(copied, common_name="a.other.test", dns_names=("a.other.test",))
    calls = [Call(copied, twin_portal), Call(copy, Requester(twin_portal.actor, other, "api"))]
    assert [row.state for row in issue_calls(calls)] == ["csr_created", "rejected"]  # the remote CA has workers of its own


def test_a_line_given_to_another_team_is_seen_by_its_members_alone(twin_portal: Requester, make_spec: MakeSpec) -> None:
    people = {name: person(name) for name in ("both", "web")}
    other = Team.objects.create(slug="other", name="Other", default_domain="other.test")
    Domain.objects.create(name="other.test", team=other)
    twin_portal.team.members.add(*people.values())
    other.members.add(people["both"])
    asker = replace(twin_portal, user=people["both"])
    lines = [Line(2, "row 2", make_spec("a.example.com")), Line(3, "row 3", make_spec("b.other.test"), owner="other")]
    order = submit_order(draft(lines, requester=asker, title="two teams"), authority=Authority(asker.actor))
    work_off_all()
    seen = {}
    for name, user in people.items():
        teams = teams_seen_by(user)
        taken = b"".join(part.encode() for part in download(order, "inventory.csv", authority=Authority(asker.actor, user)).parts)  # type: ignore[union-attr]
        seen[name] = ([line.names for line in lines_page(order, teams=teams).rows], taken.count(b"\n") - 1, hidden_lines(order, teams))
    assert seen == {"both": ([["a.example.com"], ["b.other.test"]], 2, 0), "web": ([["a.example.com"]], 1, 1)}
    assert [event.data["certificates"] for event in AuditEvent.objects.filter(event="certificate:downloaded").order_by("pk")] == [2, 1]
    # What the second person downloaded is in no history, search or proof of the other team's certificate.
    downloads = {}
    for row in Certificate.objects.select_related("request__bulk_item__order", "team"):
        events = [event.event for event in page_of(Selection(sources_of(row))).events]
        downloads[row.common_name] = events.count("certificate:downloaded")
    assert downloads == {"a.example.com": 2, "b.other.test": 1}
