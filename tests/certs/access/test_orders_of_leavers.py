"""A line of an order is issued for a person who is of the team when it is issued, not only when it was submitted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import get_user_model

from audit.log import Actor
from certs.access.permissions import Authority
from certs.bulk.control import go_on, pause, retry_failed
from certs.bulk.submit import submit_order
from certs.errors import Conflict, PortalError
from certs.models import Certificate, CertificateRequest
from certs.spec import CertificateSpec
from tests.cast import person
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.life import brought
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

# The own CA signs both in the transaction that makes the requests.
LINES: dict[str, Callable[[], CertificateSpec]] = {
    "key of the portal": lambda: CertificateSpec("a.example.com", ("a.example.com",), (), "ec-p256", 90, "tls-server"),
    "external CSR": lambda: brought("a.example.com"),
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("left", [True, False])
def test_waiting_order_of_somebody_who_left_issues_nothing(portal: Portal, line: str, left: bool) -> None:
    """S10"""
    requester = portal.requester()
    submit_order(drafted([LINES[line]()], requester), authority=requester.authority)
    if left:
        portal.team.members.remove(portal.alice)
    work_off_all()
    request = CertificateRequest.objects.get()
    assert Certificate.objects.count() == (0 if left else 1)
    assert (request.state, "has left team Web" in request.error) == (("rejected", True) if left else ("completed", False))


LEAVING: dict[str, Callable[[Portal], object]] = {
    "team": lambda portal: portal.team.members.remove(portal.alice),
    "account": lambda portal: get_user_model().objects.filter(pk=portal.alice.pk).update(is_active=False),
}


@pytest.mark.parametrize("leaves", LEAVING)
@pytest.mark.parametrize("by", ["colleague", "security team"])
def test_paused_order_of_a_leaver_is_resumed_by_others_and_issues_nothing_in_the_leavers_name(portal: Portal, leaves: str, by: str) -> None:
    requester = portal.requester()
    dan = person("dan", email="dan@example.com", team=portal.team)
    order = submit_order(drafted([LINES["external CSR"]()], requester), authority=requester.authority)
    pause(order, authority=requester.authority)
    LEAVING[leaves](portal)
    with pytest.raises(PortalError):
        go_on(order, authority=requester.authority)
    who = dan if by == "colleague" else portal.carol
    go_on(order, authority=Authority(Actor("user", who.username), who))
    work_off_all()
    request = CertificateRequest.objects.get()
    assert (request.state, Certificate.objects.count()) == ("rejected", 0)
    assert "alice" in request.error
    order.refresh_from_db()
    assert order.state == "done"
    # A line that was refused is not tried again in the leaver's name.
    with pytest.raises(Conflict):
        retry_failed(order, authority=Authority(Actor("user", who.username), who))
