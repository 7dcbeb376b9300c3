"""Approvals confirmed with a passkey or a code: what is accepted, what is kept, and that it is verified again before signing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value, yield_hotp_counters_from_time
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from audit.models import AuditEvent
from certs.access.sign_in.second_factors import check_code
from certs.enums import RequestState as S
from certs.errors import Conflict, InputRefused, NotPermitted, PortalError
from certs.models import Approval, ApprovalChallenge, ApprovalEvidence, Certificate, CertificateRequest
from certs.reconciliation.records.comparison import Comparison
from certs.reconciliation.records.decisions import approvals
from certs.requests.approvals.approval import approve, reject
from certs.requests.approvals.confirmation import CodeProof, NotConfirmed, PasskeyProof, begin, forget_challenges
from certs.requests.approvals.granted import approved_requests
from certs.requests.submit import submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from policy.rules.approval_terms import ApprovalTerms
from tests.cast import Cast
from tests.certs.life import SYSTEM, walk
from tests.twins.passkey import HOST, Passkey

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def row(cast: Cast, make_spec: MakeSpec) -> CertificateRequest:
    """A request that waits, under a policy that asks for a confirmation."""
    policy("v3", confirmation="second_factor")
    return waiting(cast, make_spec)


def policy(version: str, **approval: Any) -> None:
    now = database_now()
    content = DEFAULT_V2_3 | {"version": version, "approval": approval}
    publish_version(draft_version("default", content, actor=SYSTEM, now=now), actor=SYSTEM, now=now)


def waiting(cast: Cast, make_spec: MakeSpec, name: str = "*.apps.example.com") -> CertificateRequest:
    (request,) = submit_many([make_spec(name)], requester=cast.requester("requester"))
    walk([request.pk])
    request.refresh_from_db()
    return request


@pytest.fixture
def passkey(cast: Cast) -> Passkey:
    made = Passkey()
    made.register(cast["approver"])
    return made


def proof(row: CertificateRequest, cast: Cast, passkey: Passkey, **more: Any) -> PasskeyProof:
    options = begin(row, user=cast["approver"], digest=row.digest, host=HOST)
    return PasskeyProof(passkey.answer(options, **more), HOST)


def confirm(row: CertificateRequest, cast: Cast, sent: Any) -> CertificateRequest:
    return approve(row, user=cast["approver"], digest=row.digest, proof=sent)


def unexplained() -> list[str]:
    """What the nightly comparison with the audit log says about the approvals."""
    comparison = Comparison()
    approvals(list(Approval.objects.all()), comparison)
    return [one.problem for one in comparison.problems]


def app_of(user: Any) -> Callable[[], str]:
    """Give the account an authenticator app; return what shows its codes, a new one each time.

    The one that is about to end comes last: half a minute may end during a test.
    """
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    ending, *others = yield_hotp_counters_from_time()
    counters = iter([*others, ending])
    return lambda: format_hotp_value(hotp_value(secret, next(counters)))


def test_an_approval_without_a_confirmation_is_refused_where_the_policy_asks(cast: Cast, row: CertificateRequest) -> None:
    with pytest.raises(InputRefused) as refused:
        confirm(row, cast, None)
    assert (refused.value.field, bool(refused.value.next_step)) == ("code", True)
    assert not Approval.objects.exists()
    assert reject(row, user=cast["approver"], digest=row.digest, comment="No.").state == S.REJECTED  # needs none


def test_a_passkey_confirms_and_its_evidence_is_kept_and_sealed(cast: Cast, row: CertificateRequest, passkey: Passkey) -> None:
    assert confirm(row, cast, proof(row, cast, passkey)).state == S.APPROVED
    evidence = ApprovalEvidence.objects.get()
    assert evidence.factor == "passkey"
    assert all((evidence.nonce, evidence.credential_id, evidence.authenticator_data, evidence.client_data, evidence.signature))
    event = AuditEvent.objects.get(subject=row.subject, event="request:approved")
    assert (event.data["confirmed_by"], len(event.data["evidence_sha256"])) == ("passkey", 64)
    walk([row.pk])
    assert Certificate.objects.get().common_name == "*.apps.example.com"


def test_a_challenge_serves_once_and_not_for_long(cast: Cast, row: CertificateRequest, passkey: Passkey, make_spec: MakeSpec) -> None:
    sent = proof(row, cast, passkey)
    confirm(row, cast, sent)
    assert not ApprovalChallenge.objects.exists()
    other = waiting(cast, make_spec, "*.b.example.com")
    with pytest.raises(NotConfirmed):
        confirm(other, cast, sent)
    late = proof(other, cast, passkey)
    ApprovalChallenge.objects.update(expires_at=database_now() - timedelta(seconds=1))
    with pytest.raises(NotConfirmed, match="too old"):
        confirm(other, cast, late)
    assert forget_challenges(database_now()) == 1


def test_only_a_signature_over_this_content_by_this_persons_passkey_here_is_accepted(
    cast: Cast, row: CertificateRequest, passkey: Passkey, make_spec: MakeSpec
) -> None:
    other, strange = waiting(cast, make_spec, "*.b.example.com"), Passkey()
    strange.register(cast["veteran"])  # another approver's
    wrong: list[Any] = [
        PasskeyProof(passkey.answer(begin(other, user=cast["approver"], digest=other.digest, host=HOST)), HOST),
        proof(row, cast, strange),
        proof(row, cast, passkey, origin="https://pki.example.net"),
        proof(row, cast, passkey, kind="webauthn.create"),
        PasskeyProof({}, HOST),
        PasskeyProof({"id": "x", "rawId": "x", "type": "public-key", "response": {}}, HOST),
    ]
    for sent in wrong:
        with pytest.raises(NotConfirmed):
            confirm(row, cast, sent)
    assert not Approval.objects.exists()
    for digest in (other.digest, "0" * 64, "é", ""):  # not what the request says
        with pytest.raises(Conflict):
            begin(row, user=cast["approver"], digest=digest, host=HOST)
    sent = proof(row, cast, passkey)
    ApprovalChallenge.objects.filter(request=row).update(digest="0" * 64)
    with pytest.raises(NotConfirmed):
        confirm(row, cast, sent)


def test_who_may_not_decide_or_has_no_passkey_gets_no_challenge(cast: Cast, row: CertificateRequest) -> None:
    for name in ("requester", "officer", "approver"):
        with pytest.raises(NotPermitted):
            begin(row, user=cast[name], digest=row.digest, host=HOST)
    assert not ApprovalChallenge.objects.exists()


def test_a_code_confirms_once(cast: Cast, row: CertificateRequest, make_spec: MakeSpec) -> None:
    code = app_of(cast["approver"])
    first = code()
    assert confirm(row, cast, CodeProof(first)).state == S.APPROVED
    assert ApprovalEvidence.objects.get().factor == "code"
    walk([row.pk])
    assert Certificate.objects.count() == 1
    other = waiting(cast, make_spec, "*.b.example.com")
    for wrong in (first, "000000", "", "x" * 400):
        with pytest.raises(NotConfirmed):
            confirm(other, cast, CodeProof(wrong))


def test_a_code_that_has_signed_in_confirms_nothing_and_the_other_way_round(cast: Cast, row: CertificateRequest, settings: Any) -> None:
    """Among processes that share only the database: the library remembers used codes in a cache of each process."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    code = app_of(cast["approver"])
    first = code()
    assert check_code(cast["approver"], first) is not None
    with pytest.raises(NotConfirmed):
        confirm(row, cast, CodeProof(first))
    following = code()
    assert confirm(row, cast, CodeProof(following)).state == S.APPROVED
    assert check_code(cast["approver"], following) is None


def test_a_recovery_code_confirms_nothing_and_is_not_used_up(cast: Cast, row: CertificateRequest) -> None:
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes  # noqa: PLC0415

    codes = RecoveryCodes.activate(cast["approver"])
    unused = codes.get_unused_codes()
    with pytest.raises(NotConfirmed):
        confirm(row, cast, CodeProof(unused[0]))
    assert Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes() == unused


@pytest.mark.parametrize("field", ["signature", "client_data", "authenticator_data", "credential_id", "nonce"])
def test_evidence_that_somebody_changed_signs_nothing(cast: Cast, row: CertificateRequest, passkey: Passkey, field: str) -> None:
    confirm(row, cast, proof(row, cast, passkey))
    assert unexplained() == []
    evidence = ApprovalEvidence.objects.get()
    octets = bytearray(getattr(evidence, field))
    octets[-3] ^= 1
    ApprovalEvidence.objects.update(**{field: bytes(octets)})
    assert unexplained() == ["the evidence of its confirmation is not the one that was recorded"]
    walk([row.pk])
    row.refresh_from_db()
    assert (row.state, Certificate.objects.count()) == (S.REJECTED, 0)


def test_an_approval_that_was_only_written_into_the_table_signs_nothing(cast: Cast, row: CertificateRequest, passkey: Passkey) -> None:
    Approval.objects.create(request=row, approver=cast["approver"], digest=row.digest, granted=True, decided_at=database_now())
    CertificateRequest.objects.filter(pk=row.pk).update(state=S.APPROVED)
    walk([row.pk])
    row.refresh_from_db()
    assert (row.state, Certificate.objects.count()) == (S.REJECTED, 0)


def test_a_confirmation_counts_while_the_factor_belongs_to_the_approver(cast: Cast, row: CertificateRequest, passkey: Passkey) -> None:
    confirm(row, cast, proof(row, cast, passkey))
    terms = {row.pk: ApprovalTerms(confirmed=True)}
    assert approved_requests([row], terms) == {row.pk}
    Authenticator.objects.update(user=cast["veteran"])
    assert approved_requests([row], terms) == set()
    Authenticator.objects.all().delete()
    assert approved_requests([row], terms) == set()
    assert approved_requests([row], {row.pk: ApprovalTerms()}) == {row.pk}


def test_who_approved_before_the_policy_asked_for_a_confirmation_approves_again_with_one(
    cast: Cast, make_spec: MakeSpec, passkey: Passkey
) -> None:
    policy("v2.9", approvers=2)
    row = waiting(cast, make_spec)
    assert confirm(row, cast, None).state == S.AWAITING_APPROVAL
    policy("v3", confirmation="second_factor")
    assert confirm(row, cast, proof(row, cast, passkey)).state == S.APPROVED
    assert unexplained() == []


def test_a_batch_costs_one_query_where_no_confirmation_is_asked(
    cast: Cast, make_spec: MakeSpec, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rows = [waiting(cast, make_spec, f"*.a{number}.example.com") for number in range(4)]
    for one in rows:
        approve(one, user=cast["approver"], digest=one.digest)
    with django_assert_num_queries(1):
        assert len(approved_requests(rows, {one.pk: ApprovalTerms() for one in rows})) == 4
    with django_assert_num_queries(3):
        assert approved_requests(rows, {one.pk: ApprovalTerms(confirmed=True) for one in rows}) == set()


def test_one_signature_that_is_sent_twice_at_once_is_one_approval(cast: Cast, row: CertificateRequest, passkey: Passkey) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    sent, start, ended = proof(row, cast, passkey), threading.Barrier(2), []

    def send() -> None:
        start.wait()
        try:
            ended.append(confirm(row, cast, sent).state)
        except PortalError as exc:
            ended.append(type(exc).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [Conflict.__name__, "approved"]
    assert ApprovalEvidence.objects.count() == 1


def test_page_asks_for_the_factor_that_the_approver_has(cast: Cast, row: CertificateRequest) -> None:
    client = Client()
    client.force_login(cast["approver"])
    address = f"/requests/{row.public_id}/"
    assert "Approving needs a second factor." in client.get(address).content.decode()
    code = app_of(cast["approver"])
    page = client.get(address).content.decode()
    assert "Approve with the code" in page
    assert "Approve with your passkey" not in page
    wrong = client.post(f"{address}decide/", {"decision": "approve", "digest": row.digest, "code": "000000"})
    assert (wrong.status_code, "This code is wrong" in wrong.content.decode()) == (422, True)
    missing = client.post(f"{address}decide/", {"decision": "approve", "digest": row.digest})
    assert (missing.status_code, "asks you to confirm" in missing.content.decode()) == (422, True)
    nonsense = client.post(f"{address}decide/", {"decision": "approve", "digest": row.digest, "credential": "[" * 900})
    assert nonsense.status_code == 422
    right = client.post(f"{address}decide/", {"decision": "approve", "digest": row.digest, "code": code()})
    assert right.status_code == 302
    row.refresh_from_db()
    assert row.state == S.APPROVED
