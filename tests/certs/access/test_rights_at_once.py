"""A right is lost in the moment in which its holder decides: the decision is refused, or it came before. Both orders of each pair."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from audit.log import Actor
from certs.access.permissions import Permission, holds
from certs.bulk.control import cancel_rest
from certs.bulk.submit import submit_order
from certs.enums import RevocationReason
from certs.errors import NotFound, NotPermitted, PortalError
from certs.models import Approval, BulkOrder, CertificateRequest, Deputy, Domain, Revocation
from certs.people import departure
from certs.people.members import take_role
from certs.requests.approvals.approval import approve, approve_lines, cancel, reject
from certs.requests.approvals.confirmation import digest_of_lines
from certs.requests.approvals.deputies import name_deputy
from certs.requests.domains.domain_requests import ask_for_domain, grant_domain
from certs.requests.submit import submit_many
from certs.revocation.revoke import revoke
from db.clock import database_now
from policy.drafting import draft_version
from policy.errors import PolicyError, PublicationRefused
from policy.models import PolicyVersion, PolicyWaiver, PolicyWithdrawal
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_as, publish_version, withdraw_as
from policy.waivers.deciding import approve_waiver, end_waiver
from tests.cast import Cast
from tests.certs.access.matrix import spec
from tests.certs.bulk.orders import drafted
from tests.certs.life import SYSTEM, issued, walk
from tests.certs.requests.approvals.test_lines_together import ordered, requests_of
from tests.policy.waivers.requested import requested_waiver
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True)]
Act = Callable[[], Any]
VETERAN = Actor("user", "veteran")


class Pair:
    """An act of a person, and whether it has had an effect."""

    def __init__(self, person: str, act: Act, done: Callable[[], bool]) -> None:
        self.person, self.act, self.done = person, act, done


def waiting(cast: Cast) -> CertificateRequest:
    (row,) = submit_many([spec("*.example.com")], requester=cast.requester("requester"))
    walk([row.pk])
    row.refresh_from_db()
    return row


def approval(cast: Cast) -> Pair:
    row = waiting(cast)
    act = lambda: approve(row, user=cast["approver"], digest=row.digest)  # noqa: E731
    return Pair("approver", act, Approval.objects.filter(request=row).exists)


def rejection(cast: Cast) -> Pair:
    row = waiting(cast)
    act = lambda: reject(row, user=cast["approver"], digest=row.digest, comment="No.")  # noqa: E731
    return Pair("approver", act, Approval.objects.filter(request=row).exists)


def lines(cast: Cast) -> Pair:
    def make_spec(name: str, **_more: Any) -> Any:
        return spec(name)

    order = ordered(cast, make_spec, ("*.a.example.com", "*.b.example.com"))
    rows = list(requests_of(order))
    digest = digest_of_lines([row.digest for row in rows])
    act = lambda: approve_lines(order, rows, user=cast["approver"], digest=digest)  # noqa: E731
    return Pair("approver", act, Approval.objects.filter(request__in=rows).exists)


def domain(cast: Cast) -> Pair:
    row = ask_for_domain("pay.example.net", why="Our shop.", requester=cast.requester("requester"))
    act = lambda: grant_domain(row, user=cast["officer"], owner="")  # noqa: E731
    return Pair("officer", act, Domain.objects.filter(name="pay.example.net").exists)


def waiver(cast: Cast) -> Pair:
    row = requested_waiver(cast["veteran"])
    act = lambda: approve_waiver(row, user=cast["officer"], now=database_now())  # noqa: E731
    return Pair("officer", act, PolicyWaiver.objects.filter(approver__isnull=False).exists)


def end_of_waiver(cast: Cast) -> Pair:
    row = requested_waiver(cast["veteran"])
    act = lambda: end_waiver(row, reason="Over.", user=cast["officer"], now=database_now())  # noqa: E731
    return Pair("officer", act, PolicyWaiver.objects.filter(ended_at__isnull=False).exists)


def publication(cast: Cast) -> Pair:
    draft = draft_version("default", DEFAULT_V2_3 | {"version": "v9"}, actor=VETERAN, now=database_now())
    act = lambda: publish_as(draft, user=cast["officer"], now=database_now())  # noqa: E731
    return Pair("officer", act, PolicyVersion.objects.published().filter(pk=draft.pk).exists)


def withdrawal(cast: Cast) -> Pair:
    now = database_now()
    draft = draft_version("default", DEFAULT_V2_3 | {"version": "v9"}, actor=VETERAN, now=now)
    planned = publish_version(draft, actor=SYSTEM, now=now, effective_from=now + timedelta(days=9))
    act = lambda: withdraw_as(planned, user=cast["officer"], reason="Not yet.", now=database_now())  # noqa: E731
    return Pair("officer", act, PolicyWithdrawal.objects.exists)


PAIRS = [approval, rejection, lines, domain, waiver, end_of_waiver, publication, withdrawal]


def removed(cast: Cast, name: str) -> Act:
    """Remove all access of a person, as somebody is about to."""
    by = cast.authority("veteran")
    shown = departure.plan_removal(cast[name], authority=by).sealed
    return lambda: departure.remove_access(cast[name], shown=shown, owners={}, remove_webhooks=False, authority=by)


def role_taken(cast: Cast, name: str) -> Act:
    role = Group.objects.get(user=cast[name])
    return lambda: take_role(cast[name], role, authority=cast.authority("veteran"))


@pytest.mark.parametrize(("pair", "loss"), [*((pair, removed) for pair in PAIRS), (approval, role_taken), (publication, role_taken)])
def test_who_loses_the_right_first_decides_nothing(cast: Cast, pair: Callable[[Cast], Pair], loss: Callable[[Cast, str], Act]) -> None:
    one = pair(cast)
    lose, errors = loss(cast, one.person), list[Exception]()

    def act() -> None:
        try:
            one.act()
        except (PortalError, PolicyError) as exc:
            errors.append(exc)

    with transaction.atomic():
        lose()
        thread = in_thread(act)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert not one.done()
    assert isinstance(errors[0], NotPermitted | PublicationRefused)


@pytest.mark.parametrize("pair", PAIRS)
def test_who_decides_first_loses_the_right_afterwards(cast: Cast, pair: Callable[[Cast], Pair]) -> None:
    one = pair(cast)
    lose = removed(cast, one.person)
    with transaction.atomic():
        one.act()
        thread = in_thread(lose)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert one.done()
    assert not holds(cast[one.person], Permission.SEE_EVERY_TEAM)


def certificate_revoked(cast: Cast) -> tuple[Any, Act, Callable[[], bool]]:
    row = issued(spec("a.example.com"), cast.requester("requester"))
    act = lambda: revoke(row, reason=RevocationReason.SUPERSEDED, authority=cast.authority("colleague"))  # noqa: E731
    return row, act, Revocation.objects.exists


def request_cancelled(cast: Cast) -> tuple[Any, Act, Callable[[], bool]]:
    row = waiting(cast)
    act = lambda: cancel(row, authority=cast.authority("colleague"))  # noqa: E731
    return row, act, CertificateRequest.objects.filter(state="cancelled").exists


def order_cancelled(cast: Cast) -> tuple[Any, Act, Callable[[], bool]]:
    row = drafted([spec("a.example.com")], cast.requester("requester"))
    act = lambda: cancel_rest(row, authority=cast.authority("colleague"))  # noqa: E731
    return row, act, BulkOrder.objects.filter(state="cancelled").exists


def order_submitted(cast: Cast) -> tuple[Any, Act, Callable[[], bool]]:
    row = drafted([spec("a.example.com")], cast.requester("requester"))
    act = lambda: submit_order(row, authority=cast.authority("colleague"))  # noqa: E731
    return row, act, BulkOrder.objects.filter(submitted_at__isnull=False).exists


@pytest.mark.parametrize("prepared", [certificate_revoked, request_cancelled, order_cancelled, order_submitted])
def test_who_leaves_the_team_while_waiting_for_its_row_changes_nothing(
    cast: Cast, prepared: Callable[[Cast], tuple[Any, Act, Callable[[], bool]]]
) -> None:
    row, act, done = prepared(cast)
    errors = list[Exception]()

    def run() -> None:
        try:
            act()
        except PortalError as exc:
            errors.append(exc)

    with transaction.atomic():
        type(row).objects.select_for_update().get(pk=row.pk)
        thread = in_thread(run)
        until_it_waits_for_a_lock()
        cast.web.members.remove(cast["colleague"])
    thread.join(30)
    assert not done()
    assert [type(one) for one in errors] == [NotFound]


def test_nobody_stands_in_for_an_approver_without_being_one(cast: Cast) -> None:
    """The deputy's access is removed in the moment in which the deputy is named."""
    day = (database_now() + timedelta(days=2)).date().isoformat()
    lose, errors = removed(cast, "approver"), list[Exception]()

    def name() -> None:
        try:
            name_deputy(cast["veteran"], username="approver", until=day)
        except PortalError as exc:
            errors.append(exc)

    with transaction.atomic():
        lose()
        thread = in_thread(name)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert not Deputy.objects.exists()
    assert errors
