"""A renewal of the same content inherits its approval, for as long as the policy allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from certs.models import Approval, CertificateRequest
from certs.renewal.renew import renew
from certs.requests.approvals.inherited_approvals import approvals_for, inherit_approvals
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.rules.approval_terms import ApprovalTerms
from tests.cast import Cast
from tests.certs.life import PORTAL, issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
DAY = timedelta(days=1)


@pytest.fixture
def row(cast: Cast, make_spec: MakeSpec) -> CertificateRequest:
    (request,) = submit_many([make_spec()], requester=cast.requester("requester"))
    return request


def decided(row: CertificateRequest, cast: Cast, at: datetime, *, granted: bool = True, digest: str = "", by: str = "approver") -> Approval:
    return Approval.objects.create(request=row, approver=cast[by], digest=digest or row.digest, granted=granted, comment="", decided_at=at)


def test_the_latest_approval_counts_until_it_is_too_old(cast: Cast, row: CertificateRequest) -> None:
    now = database_now()
    decided(row, cast, now - 9 * DAY, by="veteran")
    latest = decided(row, cast, now - 5 * DAY)
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(), at=now) == {row.digest: [latest]}
    assert approvals_for({row.digest}, valid_days=5, terms=ApprovalTerms(), at=now) == {}
    assert approvals_for({row.digest}, valid_days=0, terms=ApprovalTerms(), at=now) == {}
    assert approvals_for(set(), valid_days=6, terms=ApprovalTerms(), at=now) == {}


def test_an_approval_never_reaches_another_content(cast: Cast, row: CertificateRequest) -> None:
    now = database_now()
    decided(row, cast, now, digest="0" * 64)
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(), at=now) == {}


def test_a_rejection_ends_what_was_approved_before_it_and_not_what_is_approved_after(cast: Cast, row: CertificateRequest) -> None:
    now = database_now()
    decided(row, cast, now - 3 * DAY, by="veteran")
    decided(row, cast, now - 2 * DAY, granted=False)
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(), at=now) == {}
    last = decided(row, cast, now - DAY)
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(), at=now) == {row.digest: [last]}


def test_a_renewal_gets_a_copy_that_is_as_old_as_the_first_decision(cast: Cast, make_spec: MakeSpec) -> None:
    """An approval does not stay young by being inherited."""
    certificate = issued(make_spec(), cast.requester("requester"))
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False).request
    now = database_now()
    first = decided(certificate.request, cast, now - 3 * DAY, digest=renewal.digest)
    assert inherit_approvals([renewal], valid_days=6, terms=ApprovalTerms(), at=now) == {renewal.pk: [first]}
    copy = Approval.objects.get(request=renewal)
    assert (copy.approver, copy.granted, copy.decided_at) == (cast["approver"], True, first.decided_at)
    assert copy.comment == f"Inherited from {certificate.request.public_id}."


def test_a_first_request_inherits_nothing(cast: Cast, row: CertificateRequest) -> None:
    now = database_now()
    decided(row, cast, now)
    assert inherit_approvals([row], valid_days=6, terms=ApprovalTerms(), at=now) == {}
    assert Approval.objects.count() == 1


def test_as_many_persons_as_the_policy_asks_for_are_inherited(cast: Cast, row: CertificateRequest) -> None:
    now = database_now()
    first = decided(row, cast, now - 3 * DAY)
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(approvers=2), at=now) == {}
    second = decided(row, cast, now - 2 * DAY, by="veteran")
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(approvers=2), at=now) == {row.digest: [second, first]}
    assert approvals_for({row.digest}, valid_days=6, terms=ApprovalTerms(), at=now) == {row.digest: [second]}
