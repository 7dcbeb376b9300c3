"""Whatever end is ordered, no CA's certificate passes the named date or the policy's maximum."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.ca.base import Issued, Order
from certs.issuance.verify import verify_result
from certs.spec import end_of_day
from db.clock import database_now
from tests.contracts.test_ca_client import KINDS, Subject, issuer_of, make_order, portal

__all__ = ["make_order", "portal"]  # fixtures
pytestmark = pytest.mark.django_db(transaction=True)
BACKDATE = timedelta(minutes=10)  # more than any of the CAs


@pytest.fixture(params=["local", "rest", "vault_pki"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return KINDS[request.param](request)


@pytest.mark.parametrize("kind", ["end date", "days"])
def test_certificate_ends_as_ordered_and_within_the_policy(subject: Subject, make_order: Callable[..., Order], kind: str) -> None:
    """D1, through the client of each CA: months come as end dates, at every distance from the policy's maximum."""

    # each example is a certificate of a real CA, so there are few
    @settings(
        max_examples=8,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(longest=st.integers(3, 360), before=st.integers(-2, 60))
    def ends_as_ordered(longest: int, before: int) -> None:
        days = max(2, longest - max(0, before) if kind == "days" else longest - before)
        order = make_order(days=days)._replace(longest_days=longest)
        asked_at = database_now()
        if kind == "end date":
            end = asked_at.date() + timedelta(days=days)
            order = order._replace(validity_days=None, not_after=end)
        (outcome,) = subject.client.issue_many([order])
        assert isinstance(outcome, Issued), outcome
        facts = verify_result(outcome, order, issuer_of(subject.client), now=database_now()).facts
        assert facts.not_after - facts.not_before <= timedelta(days=longest) + BACKDATE
        if order.not_after is None:
            assert facts.not_after <= database_now() + timedelta(days=days)
            return
        assert facts.not_after <= end_of_day(order.not_after)
        if days < longest:  # no maximum is reached, so the certificate has the whole day
            assert facts.not_after == end_of_day(order.not_after)

    ends_as_ordered()
