"""Two people act at once: exactly one wins, and nobody is left without an officer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from certs.access.permissions import Authority, Permission, holders_of, is_member
from certs.errors import PortalError
from certs.models import Certificate, CertificateRequest, Domain, JoinRequest, Team
from certs.people import departure, domains, invitations, joining
from certs.people.handing_over import hand_over_chosen
from certs.requests.approvals.approval import approve
from certs.requests.submit import submit_many
from tests.cast import Cast
from tests.certs.access.matrix import spec
from tests.certs.life import issued, walk
from tests.certs.people.test_invitations import join, link
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True)]


def both(*acts: Callable[[], Any]) -> list[str]:
    """Run these at once. Returns the names of their errors, "" for none, in the same order."""
    start, found = Barrier(len(acts)), [""] * len(acts)

    def run(number: int) -> None:
        start.wait(10)
        try:
            acts[number]()
        except PortalError as exc:
            found[number] = type(exc).__name__

    threads = [in_thread(partial(run, number)) for number in range(len(acts))]
    for thread in threads:
        thread.join(60)
    return found


def removal(person: Any, authority: Authority) -> Callable[[], Any]:
    shown = departure.plan_removal(person, authority=authority).sealed
    return lambda: departure.remove_access(person, shown=shown, owners={}, remove_webhooks=False, authority=authority)


def test_two_officers_who_remove_each_other_leave_one(cast: Cast) -> None:
    get_user_model().objects.filter(is_superuser=True).update(is_active=False)
    acts = [
        removal(cast["officer"], cast.authority("veteran")),
        removal(cast["veteran"], cast.authority("officer")),
    ]
    assert sorted(both(*acts)) == ["", "NotPermitted"]
    assert holders_of(Permission.MANAGE_PEOPLE).count() == 1


def test_two_officers_who_remove_one_person_do_it_once(cast: Cast) -> None:
    acts = [removal(cast["requester"], cast.authority(who)) for who in ("officer", "veteran")]
    assert sorted(both(*acts)) == ["", "ChangedSince"]


def test_request_approved_while_its_requester_is_taken_out_is_not_issued(cast: Cast) -> None:
    (row,) = submit_many([spec("*.example.com")], requester=cast.requester("requester"))
    walk([row.pk])
    row.refresh_from_db()
    found = both(
        removal(cast["requester"], cast.authority("officer")),
        lambda: approve(row, user=cast["approver"], digest=row.digest),
    )
    # Whichever came first: the request is cancelled by the removal, or refuses the approval afterwards.
    assert found[0] in ("", "ChangedSince")
    walk([row.pk])
    row = CertificateRequest.objects.get(pk=row.pk)
    if found[0] == "":
        assert (row.state, hasattr(row, "certificate")) == ("cancelled", False)


def test_domain_that_two_officers_move_goes_where_one_of_them_said(cast: Cast) -> None:
    third = Team.objects.create(slug="third", name="Third")

    def move(to: Team, who: str) -> Callable[[], Any]:
        shown = domains.preview_change("example.com", to, authority=cast.authority(who)).sealed
        return lambda: domains.do_change(["example.com"], to, shown=shown, authority=cast.authority(who))

    found = both(move(cast.other, "officer"), move(third, "veteran"))
    assert sorted(found) == ["", "ChangedSince"]
    assert Domain.objects.get(name="example.com").team == (cast.other if found[0] == "" else third)


def test_certificates_that_two_officers_hand_over_get_one_owner(cast: Cast) -> None:
    certificate = issued(spec("a.example.com"), cast.requester("requester"))
    Certificate.objects.update(owner=cast["requester"])

    def give(owner: str, who: str) -> Callable[[], Any]:
        return lambda: hand_over_chosen(cast["requester"], [certificate.cert_id], owner=owner, authority=cast.authority(who))

    found = both(give("colleague", "officer"), give("leaver", "veteran"))
    assert sorted(found) == ["", "NotFound"]
    assert Certificate.objects.get().owner == cast["colleague" if found[0] == "" else "leaver"]


def test_request_to_join_is_answered_once(cast: Cast) -> None:
    row = joining.ask_to_join("web", why="I am new.", authority=cast.authority("nobody"))
    found = both(
        lambda: joining.accept(row, authority=cast.authority("officer")),
        lambda: joining.decline(row, answer="No.", authority=cast.authority("veteran")),
    )
    assert sorted(found) == ["", "Conflict"]
    accepted = JoinRequest.objects.get().outcome == JoinRequest.Outcome.ACCEPTED
    assert is_member(cast["nobody"], cast.web) == accepted


def test_invitation_is_accepted_once(cast: Cast) -> None:
    invitations.invite("new@example.org", team=cast.web, as_lead=False, role=None, days=7, authority=cast.authority("officer"))
    token = link()
    found = both(lambda: join(token), lambda: join(token, username="second"))
    assert sorted(found) == ["", "NotFound"]
    assert get_user_model().objects.filter(email="new@example.org").count() == 1
