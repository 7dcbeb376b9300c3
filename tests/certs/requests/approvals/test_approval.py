"""Decisions on requests: approve, reject, cancel, and every refusal of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from audit.models import AuditEvent
from certs.enums import RefusalClass
from certs.enums import RequestState as S
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted
from certs.models import Approval, Certificate, CertificateRequest
from certs.requests.approvals.approval import approve, cancel, reject
from certs.requests.approvals.deciders import check_may_decide, rights_over
from certs.requests.states import CANCELLABLE, FINAL
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import Cast, person
from tests.certs.life import walk
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
DECISIONS = {"approve": approve, "reject": reject}


@pytest.fixture
def row(cast: Cast, make_spec: MakeSpec) -> CertificateRequest:
    """A request of the requester that waits for approval."""
    return waiting(cast, make_spec)


def waiting(cast: Cast, make_spec: MakeSpec, **more: Any) -> CertificateRequest:
    (request,) = submit_many([make_spec("*.apps.example.com", **more)], requester=cast.requester("requester"))
    walk([request.pk])
    request.refresh_from_db()
    assert request.state == S.AWAITING_APPROVAL
    return request


def events(request: CertificateRequest, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in AuditEvent.objects.filter(subject=request.subject, event=kind)]


def decide(decision: str, request: CertificateRequest, user: Any, *, comment: str = "seen", digest: str = "") -> CertificateRequest:
    return DECISIONS[decision](request, user=user, digest=digest or request.digest, comment=comment)


def test_an_approval_is_kept_with_what_it_was_given_for_and_the_request_goes_on(cast: Cast, row: CertificateRequest) -> None:
    approved = approve(row, user=cast["approver"], digest=row.digest, comment="As agreed.")
    assert (approved.state, approved.error) == (S.APPROVED, "")
    kept = Approval.objects.get()
    assert (kept.request_id, kept.approver, kept.digest, kept.granted, kept.comment) == (
        row.pk,
        cast["approver"],
        row.digest,
        True,
        "As agreed.",
    )
    assert events(row, "request:approved") == [{"digest": row.digest, "approver": "approver"}]
    walk([row.pk])
    assert Certificate.objects.get().common_name == "*.apps.example.com"


def test_a_rejection_is_final_and_the_requester_reads_the_reason(cast: Cast, row: CertificateRequest) -> None:
    rejected = reject(row, user=cast["approver"], digest=row.digest, comment="Name the hosts.")
    assert (rejected.state, rejected.error) == (S.REJECTED, "Rejected by approver: Name the hosts.")
    assert Approval.objects.get().granted is False
    assert events(row, "request:rejected") == [{"digest": row.digest, "approver": "approver"}]
    walk([row.pk])
    row.refresh_from_db()
    assert row.state == S.REJECTED
    assert not Certificate.objects.exists()


@pytest.mark.parametrize("comment", ["", "   ", "\n"])
def test_a_rejection_needs_a_reason(cast: Cast, row: CertificateRequest, comment: str) -> None:
    with pytest.raises(InputRefused) as refused:
        reject(row, user=cast["approver"], digest=row.digest, comment=comment)
    assert refused.value.field == "comment"
    assert not Approval.objects.exists()


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_decision_counts_for_the_content_that_was_shown(cast: Cast, row: CertificateRequest, decision: str) -> None:
    with pytest.raises(Conflict, match="not this request's content"):
        decide(decision, row, cast["approver"], digest="0" * 64)
    assert not Approval.objects.exists()


@pytest.mark.parametrize("decision", DECISIONS)
def test_only_a_request_that_waits_for_approval_is_decided(cast: Cast, row: CertificateRequest, decision: str) -> None:
    for state in set(S) - {S.AWAITING_APPROVAL}:
        CertificateRequest.objects.filter(pk=row.pk).update(state=state)
        with pytest.raises(Conflict, match=f"now: {S(state).words}"):
            decide(decision, row, cast["approver"])
    assert not Approval.objects.exists()


@pytest.mark.parametrize("decision", DECISIONS)
def test_two_decisions_on_one_request_are_one(cast: Cast, row: CertificateRequest, decision: str) -> None:
    decide(decision, row, cast["approver"])
    with pytest.raises(Conflict):
        decide("approve", row, cast["veteran"])
    assert Approval.objects.count() == 1


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_secret_in_the_comment_is_refused_and_recorded_and_nothing_is_decided(cast: Cast, row: CertificateRequest, decision: str) -> None:
    with pytest.raises(CSRRefused) as refused:
        decide(decision, row, cast["approver"], comment="token hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz")
    assert (refused.value.refusal, refused.value.field) == (RefusalClass.SECRET_PASTED, "comment")
    assert AuditEvent.objects.get(event="secret:refused").actor_name == "approver"
    row.refresh_from_db()
    assert (row.state, Approval.objects.count()) == (S.AWAITING_APPROVAL, 0)


def test_whether_an_account_may_decide_is_said_by_one_rule(cast: Cast, row: CertificateRequest) -> None:
    may = {name for name in cast.people if rights_over(cast[name], [row])[row.pk].refusal is None}
    assert may == {"approver", "veteran", "root"}
    for name in set(cast.people) - may:
        with pytest.raises(NotPermitted) as refused:
            check_may_decide(cast[name], row)
        assert refused.value.next_step


def test_an_approver_whose_role_was_taken_away_decides_nothing(cast: Cast, row: CertificateRequest) -> None:
    cast["approver"].groups.clear()
    approver = type(cast["approver"]).objects.get(username="approver")  # without the permissions that Django keeps
    for decision in DECISIONS:
        with pytest.raises(NotPermitted):
            decide(decision, row, approver)


def test_one_person_alone_decides_only_where_it_is_allowed_and_that_is_recorded(cast: Cast, make_spec: MakeSpec, settings: Any) -> None:
    both = person("both", "approver", email="requester@example.org")
    row = waiting(cast, make_spec)
    with pytest.raises(NotPermitted, match="same person"):
        approve(row, user=both, digest=row.digest)
    settings.PKI_EMBEDDED = settings.PKI_SINGLE_OFFICER = True
    assert check_may_decide(both, row) is True
    approve(row, user=both, digest=row.digest)
    assert events(row, "request:approved") == [{"digest": row.digest, "approver": "both", "single_officer": True}]


def test_an_end_date_that_is_over_is_rejected_and_not_approved(cast: Cast, make_spec: MakeSpec) -> None:
    row = waiting(cast, make_spec, until=database_now().date() + timedelta(days=9))
    CertificateRequest.objects.filter(pk=row.pk).update(not_after=database_now().date() - timedelta(days=1))
    with pytest.raises(Conflict, match="is over") as refused:
        approve(row, user=cast["approver"], digest=row.digest)
    assert refused.value.field == "not_after"
    assert reject(row, user=cast["approver"], digest=row.digest, comment="Too late.").state == S.REJECTED


def test_a_request_of_somebody_who_left_is_rejected_and_not_approved(cast: Cast, row: CertificateRequest) -> None:
    cast.web.members.remove(cast["requester"])
    with pytest.raises(Conflict, match="has left team Web") as refused:
        approve(row, user=cast["approver"], digest=row.digest)
    assert "Ask a member of the team" in refused.value.next_step
    assert reject(row, user=cast["approver"], digest=row.digest, comment="Left.").state == S.REJECTED


# Cancelling


@pytest.mark.parametrize("state", sorted(CANCELLABLE))
def test_a_request_without_a_certificate_is_cancelled(cast: Cast, make_spec: MakeSpec, state: S) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("requester"))
    CertificateRequest.objects.filter(pk=row.pk).update(state=state, held_since=database_now(), error="waits")
    cancelled = cancel(row, authority=cast.authority("colleague"))
    cancelled.refresh_from_db()
    assert (cancelled.state, cancelled.held_since, cancelled.error) == (S.CANCELLED, None, "")
    assert events(row, "request:cancelled") == [{"state": str(state)}]


@pytest.mark.parametrize("state", sorted({S.ISSUED, *FINAL}))
def test_a_request_that_has_a_certificate_or_has_ended_is_not_cancelled(cast: Cast, make_spec: MakeSpec, state: S) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("requester"))
    CertificateRequest.objects.filter(pk=row.pk).update(state=state)
    with pytest.raises(Conflict, match=f"cannot be cancelled any more .now: {S(state).words}"):
        cancel(row, authority=cast.authority("requester"))
    assert events(row, "request:cancelled") == []


def test_a_cancelled_request_reaches_no_ca(cast: Cast, make_spec: MakeSpec, twin_ca: TwinCAClient) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("requester"))
    cancel(row, authority=cast.authority("requester"))
    walk([row.pk])
    row.refresh_from_db()
    assert (row.state, twin_ca.book.calls) == (S.CANCELLED, 0)


def test_a_request_is_cancelled_by_its_team_and_by_officers(cast: Cast, make_spec: MakeSpec) -> None:
    (row,) = submit_many([make_spec()], requester=cast.requester("requester"))
    for name, error in (("outsider", NotFound), ("nobody", NotFound), ("auditor", NotPermitted), ("approver", NotPermitted)):
        with pytest.raises(error):
            cancel(row, authority=cast.authority(name))
    cast.web.members.remove(cast["leaver"])
    with pytest.raises(NotFound):
        cancel(row, authority=cast.authority("leaver"))
    assert cancel(row, authority=cast.authority("officer")).state == S.CANCELLED
