"""Use cases check rights themselves, whatever the channel has checked before (review 6.8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.bulk.control import cancel_rest, go_on, pause, retry_failed
from certs.bulk.drafting.draft import apply_suggestions, draft
from certs.bulk.export import download
from certs.bulk.submit import submit_order
from certs.enums import RevocationReason as R
from certs.errors import Conflict, NotFound, NotPermitted
from certs.inventory.download import take
from certs.models import BulkOrder, CertificateRequest, OperatorAlert, Revocation
from certs.notifications.alerts import close_by_hand
from certs.renewal.renew import plan_renewal, renew
from certs.requests import waiting
from certs.requests.approvals import approval
from certs.requests.submit import Requester, submit_many
from certs.revocation.deliver import process_revocations
from certs.revocation.request import request_release
from certs.revocation.revoke import on_same_key, revoke
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from tests.cast import Cast, person
from tests.certs.life import issued

MakeSpec = Callable[..., CertificateSpec]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

NOW = "2026-01-01T00:00Z"
MEMBERS = {"requester", "colleague", "leaver", "root"}
OFFICERS = {"officer", "veteran", "root"}
OPERATORS = {"operator", "veteran", "root"}
READERS = {"approver", "auditor"}
ALL = MEMBERS | OFFICERS | OPERATORS | READERS | {"outsider", "nobody"}


def outcomes(cast: Cast, act: Callable[[Authority], Any]) -> dict[str, str]:
    """What each of the cast gets: done, forbidden or not found."""
    found = {}
    for name in sorted(ALL):
        try:
            act(cast.authority(name))
        except NotPermitted:
            found[name] = "forbidden"
        except NotFound:
            found[name] = "not found"
        else:
            found[name] = "done"
    return found


def expected(may: set[str]) -> dict[str, str]:
    unseen = {"outsider", "nobody"}
    return {n: "done" if n in may else "not found" if n in unseen else "forbidden" for n in sorted(ALL)}


def test_cancel_is_for_members_and_officers(cast: Cast, make_spec: MakeSpec) -> None:
    def act(authority: Authority) -> None:
        (row,) = submit_many([make_spec()], requester=cast.requester("requester"))
        approval.cancel(row, authority=authority)

    assert outcomes(cast, act) == expected(MEMBERS | OFFICERS)


def test_resume_is_for_members_officers_and_operators(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("requester"))

    def act(authority: Authority) -> None:
        CertificateRequest.objects.filter(pk=row.pk).update(state="failed", stopped_at="approved", resume_id="resume-1", held_since=None)
        waiting.resume("resume-1", authority=authority)

    assert outcomes(cast, act) == expected(MEMBERS | OFFICERS | OPERATORS)


def order_in(cast: Cast, state: str) -> BulkOrder:
    lines = [Line(1, "row 1", CertificateSpec("a.example.com", ("a.example.com",), (), "ec-p256", 90, "tls-server"))]
    order = draft(lines, requester=cast.requester("requester"), title="one")
    if state != "draft":
        order = submit_order(order, authority=cast.authority("requester"))
        BulkOrder.objects.filter(pk=order.pk).update(state=state)
        order.refresh_from_db()
    return order


ORDER_VERBS: dict[str, tuple[str, set[str], Callable[..., Any]]] = {
    "submit": ("draft", MEMBERS | OFFICERS, submit_order),
    "suggestions": ("draft", MEMBERS | OFFICERS, apply_suggestions),
    "cancel": ("running", MEMBERS | OFFICERS, cancel_rest),
    "pause": ("running", MEMBERS | OFFICERS | OPERATORS, pause),
    "resume": ("paused", MEMBERS | OFFICERS | OPERATORS, go_on),
}


@pytest.mark.parametrize("verb", ORDER_VERBS)
def test_what_is_done_with_an_order_is_checked_in_the_use_case(cast: Cast, verb: str) -> None:
    state, may, use_case = ORDER_VERBS[verb]
    assert outcomes(cast, lambda authority: use_case(order_in(cast, state), authority=authority)) == expected(may)


@pytest.mark.parametrize("who", [("officer",), ("operator",), ("requester", "officer"), ("requester", "operator"), ("root",)])
def test_a_pause_by_the_security_team_is_ended_by_it_alone(cast: Cast, who: tuple[str, ...]) -> None:
    """S8, for orders"""
    order = order_in(cast, "running")
    for name in who:
        pause(order, authority=cast.authority(name))
    cast.web.members.add(cast["officer"])
    for authority in (cast.authority("requester"), cast.authority("colleague", cast.web), cast.authority("officer", cast.web)):
        with pytest.raises(NotPermitted, match="The security team paused") as refused:
            go_on(order, authority=authority)
        assert refused.value.next_step
        with pytest.raises(Conflict):
            pause(order, authority=authority)
    order.refresh_from_db()
    assert (order.state, order.paused_by_security_team) == ("paused", True)
    assert AuditEvent.objects.filter(event="bulk:paused").count() == len(who)
    assert outcomes(cast, lambda a: go_on(paused_by_officer(order), authority=a)) == expected(OFFICERS | OPERATORS)


def paused_by_officer(order: BulkOrder) -> BulkOrder:
    BulkOrder.objects.filter(pk=order.pk).update(state="paused", paused_by_security_team=True)
    return order


def test_a_pause_by_the_team_is_ended_by_a_colleague(cast: Cast) -> None:
    order = order_in(cast, "running")
    pause(order, authority=cast.authority("officer"))
    go_on(order, authority=cast.authority("operator"))
    pause(order, authority=cast.authority("requester"))
    assert go_on(order, authority=cast.authority("colleague")).state == "running"


@pytest.mark.parametrize(("who", "button"), [("colleague", False), ("officer", True), ("operator", True)])
def test_page_of_an_order_paused_by_its_team_lets_the_security_team_take_the_pause_over(
    cast: Cast, client: Client, who: str, button: bool
) -> None:
    """The button does what it says: from then on the team cannot resume."""
    label = "Keep it paused for the security team"
    order = order_in(cast, "running")
    pause(order, authority=cast.authority("requester"))
    client.force_login(cast[who])
    path = reverse("bulk-order", args=[order.public_id])
    assert (label in client.get(path).content.decode()) is button
    act = reverse("bulk-act", args=[order.public_id, "pause"])
    answer = client.post(act, follow=True)
    order.refresh_from_db()
    assert (order.state, order.paused_by_security_team) == ("paused", button)
    if button:
        assert label not in answer.content.decode()
        client.force_login(cast["colleague"])
        page = client.get(path).content.decode()
        assert ('id="order-resume"' in page, "The security team paused this order" in page) == (False, True)


@pytest.mark.parametrize(("who", "button"), [("requester", False), ("operator", True)])
def test_page_of_an_order_paused_by_the_security_team(cast: Cast, client: Client, who: str, button: bool) -> None:
    order = order_in(cast, "running")
    pause(order, authority=cast.authority("officer"))
    client.force_login(cast[who])
    page = client.get(reverse("bulk-order", args=[order.public_id])).content.decode()
    assert ('id="order-resume"' in page, "The security team paused this order" in page) == (button, not button)


def test_retry_and_download_of_an_order(cast: Cast) -> None:
    order = order_in(cast, "running")
    for name in ("outsider", "nobody"):
        with pytest.raises(NotFound):
            retry_failed(order, authority=cast.authority(name))
        with pytest.raises(NotFound):
            download(order, "inventory.csv", authority=cast.authority(name))
    with pytest.raises(NotPermitted):
        retry_failed(order, authority=cast.authority("auditor"))
    download(order, "inventory.csv", authority=cast.authority("auditor"))


@pytest.mark.parametrize("verb", ORDER_VERBS)
def test_lines_of_another_team_need_a_member_of_both(cast: Cast, verb: str) -> None:
    """S11: the order was drafted by somebody in both teams."""
    both = person("both", email="both@example.org", team=cast.web)
    cast.other.members.add(both)
    spec = CertificateSpec("a.example.com", ("a.example.com",), (), "ec-p256", 90, "tls-server")
    theirs = CertificateSpec("b.other.test", ("b.other.test",), (), "ec-p256", 90, "tls-server")
    lines = [Line(1, "row 1", spec), Line(2, "row 2", theirs, owner="other")]
    requester = Requester(Actor("user", "both"), cast.web, "portal", user=both)
    order = draft(lines, requester=requester, title="two teams")
    state, _, use_case = ORDER_VERBS[verb]
    if state != "draft":
        order = submit_order(order, authority=Authority(Actor("user", "both"), both))
        BulkOrder.objects.filter(pk=order.pk).update(state=state)
    for team in (None, cast.web):  # over the portal and with a token
        with pytest.raises(NotPermitted, match="lines of teams to which you do not belong"):
            use_case(order, authority=cast.authority("requester", team))
    with pytest.raises(NotPermitted):
        use_case(order, authority=Authority(Actor("token", "both"), both, cast.web))
    assert BulkOrder.objects.get(pk=order.pk).state == state
    use_case(order, authority=Authority(Actor("user", "both"), both))


def test_alerts_are_closed_by_operators(cast: Cast) -> None:
    def act(authority: Authority) -> None:
        alert = OperatorAlert.objects.create(kind="x", cause=authority.actor.name, message="m", raised_at=NOW, last_seen_at=NOW)
        close_by_hand(alert.pk, authority=authority)

    found = outcomes(cast, act)
    assert {name for name, result in found.items() if result == "done"} == OPERATORS


def test_a_certificate_is_renewed_and_revoked_by_members_and_officers(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(), cast.requester("requester"))
    may = expected(MEMBERS | OFFICERS)
    assert outcomes(cast, lambda a: plan_renewal(certificate, authority=a)) == may
    assert outcomes(cast, lambda a: renew(certificate, authority=a, channel="portal", begin=False)) == may
    assert outcomes(cast, lambda a: revoke(certificate, reason=R.SUPERSEDED, authority=a, begin=False)) == may


def test_a_certificate_is_downloaded_by_whoever_may_see_it(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec(), cast.requester("requester"))
    found = outcomes(cast, lambda a: take(certificate, "cert.pem", authority=a))
    assert found == expected(ALL - {"outsider", "nobody"})
    with pytest.raises(NotFound):
        take(certificate, "cert.pem", authority=cast.authority("officer", cast.other))


def test_certificates_on_the_same_key_of_other_teams_are_the_officers(cast: Cast, make_spec: MakeSpec) -> None:
    first, second = issued(make_spec(), cast.requester("requester")), issued(make_spec("b.example.com"), cast.requester("requester"))
    type(second).objects.filter(pk=second.pk).update(spki_sha256=first.spki_sha256, team=cast.other)
    seen = {n: len(on_same_key(first, authority=cast.authority(n), now=first.issued_at)) for n in ("requester", "outsider", "officer")}
    assert seen == {"requester": 0, "outsider": 1, "officer": 1}


HOLD = R.CERTIFICATE_HOLD


def held(cast: Cast, make_spec: MakeSpec, *who: str) -> Any:
    certificate = issued(make_spec(), cast.requester("requester"))
    for name in who:
        revoke(certificate, reason=HOLD, authority=cast.authority(name), begin=False)
    process_revocations()
    return certificate


@pytest.mark.parametrize("who", [("officer",), ("requester", "officer"), ("officer", "requester"), ("root",)])
def test_a_hold_by_the_security_team_is_released_by_an_officer_alone(cast: Cast, make_spec: MakeSpec, who: tuple[str, ...]) -> None:
    """S8"""
    certificate = held(cast, make_spec, *who)
    for authority in (cast.authority("requester"), cast.authority("requester", cast.web), cast.authority("officer", cast.web)):
        with pytest.raises((NotPermitted, NotFound)):
            request_release(certificate, authority=authority, begin=False)
    assert Revocation.objects.get().release_requested_at is None
    request_release(certificate, authority=cast.authority("officer"), begin=False)
    assert Revocation.objects.get().release_requested_by == "officer"


def test_a_hold_by_the_team_is_released_by_a_colleague(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = held(cast, make_spec, "requester")
    with pytest.raises(NotPermitted):
        request_release(certificate, authority=cast.authority("auditor"), begin=False)
    request_release(certificate, authority=cast.authority("colleague"), begin=False)
    assert Revocation.objects.get().release_requested_by == "colleague"


def test_a_hold_placed_again_stops_a_release_under_way(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = held(cast, make_spec, "requester")
    request_release(certificate, authority=cast.authority("requester"), begin=False)
    revoke(certificate, reason=HOLD, authority=cast.authority("officer"), begin=False)
    process_revocations()
    revocation = Revocation.objects.get()
    assert (revocation.released_at, revocation.release_requested_at, revocation.by_security_team) == (None, None, True)
    assert AuditEvent.objects.filter(event="certificate:revocation_requested", actor_name="officer").count() == 1


def test_a_new_hold_after_a_release_is_whoevers_it_is(cast: Cast, make_spec: MakeSpec) -> None:
    certificate = held(cast, make_spec, "officer")
    request_release(certificate, authority=cast.authority("officer"), begin=False)
    process_revocations()
    revoke(certificate, reason=HOLD, authority=cast.authority("requester"), begin=False)
    assert Revocation.objects.get().by_security_team is False
