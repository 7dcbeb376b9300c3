"""A line of an order is issued for a person who is of the team when it is issued, not only when it was submitted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from certs.bulk.submit import submit_order
from certs.models import Certificate, CertificateRequest
from certs.spec import CertificateSpec
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
