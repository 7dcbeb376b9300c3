"""Lines of a bulk order decided together: what is shown, that it counts for exactly that, once, and that each line is verified."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from audit.models import AuditEvent
from certs.bulk.submit import submit_order
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused, NotPermitted, PortalError
from certs.models import (
    Approval,
    ApprovalEvidence,
    ApprovalLimit,
    ApprovalOfLines,
    BulkOrder,
    Certificate,
    CertificateRequest,
)
from certs.requests.approvals.approval import approve, approve_lines, cancel, reject, reject_lines
from certs.requests.approvals.confirmation import (
    CodeProof,
    NotConfirmed,
    PasskeyProof,
    begin_lines,
    digest_of_lines,
    forget_challenges,
)
from certs.requests.approvals.granted import approved_requests
from certs.requests.approvals.time_limit import let_lapse
from certs.requests.approvals.together import UNMARKED, Together, lines_together
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.rules.approval_terms import ApprovalTerms
from tests.cast import Cast
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.life import walk
from tests.certs.requests.approvals.test_confirmation import app_of, policy, unexplained, waiting
from tests.certs.requests.approvals.test_waiting_for_approval import at_once
from tests.portal.threads import in_thread, until_it_waits_for_a_lock
from tests.twins.passkey import HOST, Passkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
WAITING = S.AWAITING_APPROVAL


@pytest.fixture
def order(cast: Cast, make_spec: MakeSpec) -> BulkOrder:
    return ordered(cast, make_spec)


def ordered(cast: Cast, make_spec: MakeSpec, names: tuple[str, ...] = ("*.a.example.com", "*.b.example.com", "*.example.com")) -> BulkOrder:
    """An order of which every line waits for an approval."""
    requester = cast.requester("requester")
    made = submit_order(drafted([make_spec(name, key="ed25519") for name in names], requester), authority=requester.authority)
    work_off_all()
    assert requests_of(made).filter(state=WAITING).count() == len(names)
    return made


def requests_of(order: BulkOrder) -> Any:
    return CertificateRequest.objects.filter(bulk_item__order=order).order_by("pk")


def shown(order: BulkOrder, cast: Cast, *, name: str = "approver", only: str = "") -> Together:
    return lines_together(order, user=cast[name], only=only, now=database_now())


def states(order: BulkOrder) -> list[str]:
    return list(requests_of(order).values_list("state", flat=True))


def events(order: BulkOrder, kind: str) -> int:
    return AuditEvent.objects.filter(event=kind, subject__in=[row.subject for row in requests_of(order)]).count()


def test_lines_are_shown_by_risk_with_their_differences(cast: Cast, make_spec: MakeSpec) -> None:
    request = waiting(cast, make_spec, "*.a.example.com")
    approve(request, user=cast["approver"], digest=request.digest)
    walk([request.pk])
    order = ordered(cast, make_spec)
    seen = shown(order, cast)
    assert (len(seen.lines), seen.waiting, seen.left_out) == (3, 3, ())
    groups = {group.kind: (group.is_high, group.count, group.names) for group in seen.groups}
    assert seen.groups[0].kind == "Whole-domain wildcard"
    assert groups == {
        "Whole-domain wildcard": (True, 1, ("*.example.com",)),
        "Wildcard": (False, 2, ("*.a.example.com", "*.b.example.com")),
        "Name never seen": (False, 2, ("*.b.example.com", "*.example.com")),
    }
    by_name = {line.request.names[0]: line for line in seen.lines}
    assert by_name["*.b.example.com"].last is None
    assert [(one.what, one.now) for one in by_name["*.a.example.com"].differences] == [("Key", "Ed25519")]
    only = shown(order, cast, only="Name never seen")
    assert [line.request.names[0] for line in only.lines] == ["*.b.example.com", "*.example.com"]
    assert only.digest != seen.digest
    assert shown(order, cast, only=UNMARKED).lines == shown(order, cast, only="<script>").lines == ()


def test_lines_that_the_account_cannot_approve_are_left_out_with_the_reason(cast: Cast, order: BulkOrder) -> None:
    late, left, _ = requests_of(order)
    ApprovalLimit.objects.filter(pk=late.pk).update(lapses_at=database_now())
    CertificateRequest.objects.filter(pk=left.pk).update(requester=cast["leaver"])
    cast.web.members.remove(cast["leaver"])
    seen = shown(order, cast)
    assert len(seen.lines) == 1
    whys = {one.request.pk: one.why for one in seen.left_out}
    assert "lapsed" in whys[late.pk]
    assert "has left team" in whys[left.pk]
    # Who submitted the order decides none of it.
    cast["requester"].groups.add(*cast["approver"].groups.all())
    own = shown(order, cast, name="requester")
    assert (own.lines, len(own.left_out)) == ((), 3)


def test_all_lines_go_on_with_one_confirmation_and_each_has_its_own_record(cast: Cast, order: BulkOrder) -> None:
    seen = shown(order, cast)
    assert approve_lines(order, seen.requests, user=cast["approver"], digest=seen.digest) == 3
    assert set(states(order)) == {S.APPROVED}
    assert Approval.objects.filter(granted=True, approver=cast["approver"]).count() == 3
    assert events(order, "request:approved") == 3
    assert unexplained() == []
    with pytest.raises(Conflict):
        approve_lines(order, seen.requests, user=cast["approver"], digest=seen.digest)
    assert Approval.objects.count() == 3
    walk([row.pk for row in requests_of(order)])
    assert set(states(order)) == {S.COMPLETED}
    assert Certificate.objects.count() == 3


def test_a_rejection_of_all_needs_one_reason_which_each_requester_reads(cast: Cast, order: BulkOrder) -> None:
    seen = shown(order, cast)
    with pytest.raises(InputRefused):
        reject_lines(order, seen.requests, user=cast["approver"], digest=seen.digest, comment=" ")
    assert reject_lines(order, seen.requests, user=cast["approver"], digest=seen.digest, comment="Name the hosts.") == 3
    assert set(requests_of(order).values_list("state", "error")) == {(S.REJECTED, "Rejected by approver: Name the hosts.")}
    assert events(order, "request:rejected") == 3


def test_nothing_is_decided_if_one_line_has_changed(cast: Cast, order: BulkOrder) -> None:
    seen = shown(order, cast)
    first = seen.requests[0]
    approve(first, user=cast["veteran"], digest=first.digest)  # the other approver was faster
    for requests in (seen.requests, seen.requests[1:], []):
        with pytest.raises(Conflict, match="changed since you saw them"):
            approve_lines(order, requests, user=cast["approver"], digest=seen.digest)
    assert Approval.objects.count() == 1
    again = shown(order, cast)
    assert approve_lines(order, again.requests, user=cast["approver"], digest=again.digest) == 2


@pytest.mark.parametrize("who", ["requester", "colleague", "officer", "auditor", "operator", "nobody"])
def test_only_approvers_decide_lines_together(cast: Cast, order: BulkOrder, who: str) -> None:
    seen = shown(order, cast)
    for decide in (approve_lines, reject_lines):
        with pytest.raises(NotPermitted):
            decide(order, seen.requests, user=cast[who], digest=seen.digest, comment="because")
    assert set(states(order)) == {WAITING}


def test_two_approvers_and_a_double_click_decide_once(cast: Cast, order: BulkOrder) -> None:
    seen = shown(order, cast)
    names = ("approver", "approver", "veteran")
    found = at_once(*(lambda n=n: approve_lines(order, seen.requests, user=cast[n], digest=seen.digest) for n in names))
    assert found == ["Conflict", "Conflict", "done"]
    assert (Approval.objects.count(), events(order, "request:approved")) == (3, 3)


def decided_alone(row: CertificateRequest, cast: Cast) -> None:
    approve(row, user=cast["veteran"], digest=row.digest)


def rejected_alone(row: CertificateRequest, cast: Cast) -> None:
    reject(row, user=cast["veteran"], digest=row.digest, comment="No.")


def withdrawn(row: CertificateRequest, cast: Cast) -> None:
    cancel(row, authority=cast.authority("requester"))


def lapsed(row: CertificateRequest, _cast: Cast) -> None:
    ApprovalLimit.objects.filter(pk=row.pk).update(lapses_at=database_now() - timedelta(hours=1))
    let_lapse()


@pytest.mark.parametrize("other", [decided_alone, rejected_alone, withdrawn, lapsed])
def test_lines_are_decided_together_or_not_at_all_beside_what_happens_to_one(
    cast: Cast, order: BulkOrder, other: Callable[[CertificateRequest, Cast], None]
) -> None:
    """Whichever comes first: never is a part of what was signed approved."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    together, row, found = shown(order, cast), requests_of(order)[1], list[str]()

    def decide() -> None:
        try:
            approve_lines(order, together.requests, user=cast["approver"], digest=together.digest)
        except PortalError as exc:
            found.append(type(exc).__name__)

    with transaction.atomic():
        other(row, cast)
        thread = in_thread(decide)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert found == ["Conflict"]
    assert not Approval.objects.filter(approver=cast["approver"]).exists()
    assert states(order).count(WAITING) == len(together.lines) - 1


@pytest.mark.parametrize("other", [decided_alone, rejected_alone, lapsed])
def test_what_happens_to_a_line_after_all_were_approved_together_is_refused(
    cast: Cast, order: BulkOrder, other: Callable[[CertificateRequest, Cast], None]
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    together, row, found = shown(order, cast), requests_of(order)[1], list[str]()

    def act() -> None:
        try:
            other(row, cast)
        except PortalError as exc:
            found.append(type(exc).__name__)

    with transaction.atomic():
        approve_lines(order, together.requests, user=cast["approver"], digest=together.digest)
        thread = in_thread(act)
        until_it_waits_for_a_lock()
    thread.join(30)
    assert found == ([] if other is lapsed else ["Conflict"])
    assert states(order) == [S.APPROVED] * len(together.lines)


def test_each_line_waits_for_as_many_persons_as_the_policy_asks_for(cast: Cast, make_spec: MakeSpec) -> None:
    policy("v3", approvers=2)
    order = ordered(cast, make_spec)
    seen = shown(order, cast)
    assert approve_lines(order, seen.requests, user=cast["approver"], digest=seen.digest) == 0
    assert set(states(order)) == {WAITING}
    mine = shown(order, cast)
    assert (mine.lines, {one.why.partition(" ")[0] for one in mine.left_out}) == ((), {"You"})
    other = shown(order, cast, name="veteran")
    assert approve_lines(order, other.requests, user=cast["veteran"], digest=other.digest) == 3
    assert (events(order, "request:endorsed"), events(order, "request:approved")) == (3, 3)


# Confirmed with a second factor


@pytest.fixture
def confirmed(cast: Cast, make_spec: MakeSpec) -> BulkOrder:
    policy("v3", confirmation="second_factor")
    return ordered(cast, make_spec)


@pytest.fixture
def passkey(cast: Cast) -> Passkey:
    made = Passkey()
    made.register(cast["approver"])
    return made


def approved(order: BulkOrder) -> set[int]:
    """The lines whose approvals hold, as it is asked before each is signed."""
    rows = list(requests_of(order))
    terms = ApprovalTerms(confirmed=True)
    return approved_requests(rows, {row.pk: terms for row in rows})


def with_passkey(order: BulkOrder, cast: Cast, passkey: Passkey) -> int:
    seen = shown(order, cast)
    options = begin_lines(order, seen.requests, user=cast["approver"], host=HOST)
    proof = PasskeyProof(passkey.answer(options), HOST)
    return approve_lines(order, seen.requests, user=cast["approver"], digest=seen.digest, proof=proof)


def test_one_signature_over_all_lines_is_evidence_for_each_and_is_verified_again(
    cast: Cast, confirmed: BulkOrder, passkey: Passkey
) -> None:
    seen = shown(confirmed, cast)
    with pytest.raises(InputRefused) as refused:
        approve_lines(confirmed, seen.requests, user=cast["approver"], digest=seen.digest)
    assert refused.value.field == "code"
    assert with_passkey(confirmed, cast, passkey) == 3
    assert ApprovalEvidence.objects.filter(factor="passkey").count() == 3
    assert approved(confirmed) == {row.pk for row in seen.requests}
    assert unexplained() == []
    kept = ApprovalOfLines.objects.get()
    assert (kept.digest, kept.expires_at) == (digest_of_lines(kept.digests), None)
    forget_challenges(database_now())
    walk([row.pk for row in seen.requests])
    assert set(states(confirmed)) == {S.COMPLETED}


@pytest.mark.parametrize("change", ["another list", "a list without the line", "another nonce", "another person"])
def test_evidence_of_lines_that_somebody_changed_signs_nothing(cast: Cast, confirmed: BulkOrder, passkey: Passkey, change: str) -> None:
    with_passkey(confirmed, cast, passkey)
    kept = ApprovalOfLines.objects.get()
    match change:
        case "another list":
            kept.digests = [*kept.digests, "0" * 64]
        case "a list without the line":
            kept.digests = ["0" * 64]
        case "another nonce":
            ApprovalEvidence.objects.update(nonce=b"0" * 32)
        case _:
            kept.approver = cast["veteran"]
    kept.save()
    assert approved(confirmed) == set()
    walk([row.pk for row in requests_of(confirmed)])
    assert not Certificate.objects.exists()


def test_a_signature_over_some_lines_approves_no_others_and_serves_once(cast: Cast, confirmed: BulkOrder, passkey: Passkey) -> None:
    seen = shown(confirmed, cast)
    two = seen.requests[:2]
    options = begin_lines(confirmed, two, user=cast["approver"], host=HOST)
    proof = PasskeyProof(passkey.answer(options), HOST)
    with pytest.raises(NotConfirmed):
        approve_lines(confirmed, seen.requests, user=cast["approver"], digest=seen.digest, proof=proof)
    digest = digest_of_lines([row.digest for row in two])
    assert approve_lines(confirmed, two, user=cast["approver"], digest=digest, proof=proof) == 2
    last = seen.requests[2:]
    with pytest.raises(NotConfirmed):
        approve_lines(confirmed, last, user=cast["approver"], digest=digest_of_lines([last[0].digest]), proof=proof)
    assert states(confirmed) == [S.APPROVED, S.APPROVED, WAITING]


def test_one_code_confirms_all_lines_and_serves_once(cast: Cast, confirmed: BulkOrder) -> None:
    code = CodeProof(app_of(cast["approver"])())
    seen = shown(confirmed, cast)
    assert approve_lines(confirmed, seen.requests, user=cast["approver"], digest=seen.digest, proof=code) == 3
    assert approved(confirmed) == {row.pk for row in seen.requests}
    assert set(ApprovalEvidence.objects.values_list("factor", "lines__digest")) == {("code", seen.digest)}
    with pytest.raises(NotConfirmed):
        approve_lines(confirmed, seen.requests, user=cast["approver"], digest=seen.digest, proof=code)


# Pages


def client_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_inbox_leads_to_one_page_on_which_all_lines_are_decided(cast: Cast, order: BulkOrder) -> None:
    approver = client_of(cast["approver"])
    address = f"/bulk/{order.public_id}/decide/"
    assert f'href="{address}"' in approver.get("/inbox/").content.decode()
    assert f'href="{address}"' in approver.get(f"/bulk/{order.public_id}/").content.decode()
    form = {"digest": approver.get(address).context["together"].digest, "only": "", "decision": "reject", "comment": ""}
    refused = approver.post(address, form)
    assert (refused.status_code, 'id="comment-error"' in refused.content.decode()) == (422, True)
    form |= {"decision": "approve"}
    done = approver.post(address, form, follow=True)
    assert "3 lines were approved" in done.content.decode()
    again = approver.post(address, form)
    assert (again.status_code, "changed since you saw them" in again.content.decode()) == (409, True)
    assert Approval.objects.count() == 3
    assert address not in approver.get("/inbox/").content.decode()


def test_what_people_typed_is_shown_as_text(cast: Cast, order: BulkOrder) -> None:
    BulkOrder.objects.filter(pk=order.pk).update(title="<script>alert(1)</script>")
    approver = client_of(cast["approver"])
    address = f"/bulk/{order.public_id}/decide/"
    for page in (approver.get(address), approver.get(f"{address}?only=<script>"), approver.post(address, {"comment": "<script>"})):
        assert b"<script>alert" not in page.content
        assert b'value="<script>' not in page.content


def test_more_lines_cost_no_more_queries(cast: Cast, make_spec: MakeSpec, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    few = ordered(cast, make_spec, ("*.a.example.com",))
    many = ordered(cast, make_spec, tuple(f"*.n{n}.example.com" for n in range(12)))
    approver = client_of(cast["approver"])
    approver.get(f"/bulk/{few.public_id}/decide/")
    with django_assert_max_num_queries(60) as counted:
        approver.get(f"/bulk/{few.public_id}/decide/")
    with django_assert_max_num_queries(len(counted.captured_queries)):
        approver.get(f"/bulk/{many.public_id}/decide/")
