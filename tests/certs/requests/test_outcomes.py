"""Ways in which a request ends or waits, other than well: wrong certificates, changed policies, blocked keys, sealed key stores, poison."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import transaction

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.ca.base import Lookup
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable
from certs.issuance.steps.ca_call import order_for
from certs.models import Attempt, Certificate, CertificateRequest, Issuer, OperatorAlert, OutgoingMail, QuarantinedCertificate
from certs.requests.approvals import approval
from certs.requests.submit import Requester, submit_many
from certs.requests.waiting import hold_for_ca, hold_for_keys, release_held, resume
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import Key
from keys.public_keys import mark_compromised
from keys.spec import KeySpec
from policy.drafting import draft_version
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.certs import steps
from tests.certs.issuance.test_schedules import let_leases_end, walk
from tests.certs.life import new_policy
from tests.twins.ca import Fault, TwinCAClient
from tests.twins.keys import KeyFault, TwinKeyBackend

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor("system", "test")
MakeSpec = Callable[..., CertificateSpec]


def ask(requester: Requester, spec: CertificateSpec) -> CertificateRequest:
    return submit_many([spec], requester=requester)[0]


def events(request: CertificateRequest) -> list[str]:
    return list(AuditEvent.objects.filter(subject=request.subject).order_by("subject_seq").values_list("event", flat=True))


def test_denied_request_makes_nothing_and_says_what_passes(
    twin_portal: Requester, twin_ca: TwinCAClient, twin_keys: TwinKeyBackend, make_spec: MakeSpec
) -> None:
    request = ask(twin_portal, make_spec(key="rsa-2048"))
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, request.error, request.suggestion, request.policy_version) == (
        S.REJECTED,
        "Policy violation: Key size 2048 below minimum 3072",
        "Use RSA key size ≥ 3072 bits",
        "v2.3",
    )
    assert (twin_keys.keys, Key.objects.count(), twin_ca.book.calls) == ({}, 0, 0)
    assert events(request) == ["request:submitted", "policy:evaluated", "request:rejected"]


def test_wrong_certificate_is_quarantined_revoked_and_stops_the_ca_meanwhile(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    twin_ca.faults = [Fault.WRONG_KEY]
    wrong, next_one = ask(twin_portal, make_spec("wrong.example.com")), ask(twin_portal, make_spec("next.example.com"))
    walk([wrong.pk])
    wrong.refresh_from_db()
    assert (wrong.state, wrong.stopped_at, "another public key" in wrong.error) == (S.FAILED, S.CSR_CREATED, True)
    assert (Certificate.objects.count(), QuarantinedCertificate.objects.count()) == (0, 1)
    assert Issuer.objects.get().circuit_opened_at is not None
    assert OperatorAlert.objects.filter(kind="ca_stopped").count() == 1
    assert OutgoingMail.objects.filter(topic="machinery").count() == 1
    calls = twin_ca.book.calls
    walk([next_one.pk])
    assert twin_ca.book.calls == calls  # nothing is sent to a CA that is stopped
    assert recovery.revoke_quarantined() == 1
    assert [one.revoked for one in twin_ca.book.signed] == [True]
    assert Issuer.objects.get().circuit_opened_at is None
    walk([next_one.pk])
    next_one.refresh_from_db()
    assert next_one.state == S.COMPLETED


def test_quarantined_certificate_of_an_unreachable_ca_stays_until_it_is_revoked(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    twin_ca.faults = [Fault.WRONG_KEY]
    walk([ask(twin_portal, make_spec()).pk])
    twin_ca.reachable = False
    for _ in range(6):
        assert recovery.revoke_quarantined() == 0
    assert QuarantinedCertificate.objects.get().revocation_tries == 6
    assert OperatorAlert.objects.filter(kind="quarantine_not_revoked").count() == 1
    assert Issuer.objects.get().circuit_opened_at is not None


@pytest.mark.parametrize("lookup", [Lookup.BY_ORDER_REF, Lookup.BY_LISTING])
def test_certificate_of_a_lost_answer_is_taken_though_the_look_up_comes_late(
    lookup: Lookup, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    """As after an outage that began between the CA's signature and its answer."""
    twin_ca.capabilities = replace(twin_ca.capabilities, lookup=lookup)
    request = ask(twin_portal, make_spec())
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    twin_ca.faults = [Fault.ANSWER_LOST]
    with pytest.raises(Unavailable):
        steps.submit_to_ca([request.pk])
    outage = timedelta(hours=2)
    Attempt.objects.filter(step="submit").update(opened_at=database_now() - outage)
    request.refresh_from_db()
    twin_ca.book.signed.clear()
    signed = twin_ca.sign(order_for(request, request.csr, now=database_now() - outage))
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, QuarantinedCertificate.objects.count(), len(twin_ca.book.signed)) == (S.COMPLETED, 0, 1)
    assert bytes(Certificate.objects.get().body.der) == signed.der


def test_policy_that_became_stricter_refuses_at_the_last_moment_naming_both_versions(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    request = ask(twin_portal, make_spec(days=90))
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    stricter = copy.deepcopy(DEFAULT_V2_3) | {"version": "v2.4"}
    stricter["defaults"]["validity_days"] = stricter["rules"]["max_validity"]["days"] = 30
    now = database_now()
    publish_version(draft_version("default", stricter, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, "accepted under v2.3, refused under v2.4" in request.error, twin_ca.book.calls) == (S.REJECTED, True, 0)


def test_key_blocked_before_submission_is_never_sent(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    request = ask(twin_portal, make_spec())
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    request.refresh_from_db()
    with transaction.atomic():
        assert mark_compromised(request.spki_sha256, "reported", now=database_now(), actor=SYSTEM) is True
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, twin_ca.book.calls) == (S.REJECTED, 0)


def test_sealed_key_store_holds_the_request_and_it_goes_on_when_unsealed(
    twin_portal: Requester, twin_ca: TwinCAClient, twin_keys: TwinKeyBackend, make_spec: MakeSpec
) -> None:
    request = ask(twin_portal, make_spec())
    steps.check_policy([request.pk])
    twin_keys.reachable = False
    with pytest.raises(Unavailable) as caught:
        steps.ensure_keys([request.pk])
    hold_for_keys(caught.value.ids, caught.value.message)
    request.refresh_from_db()
    assert (request.state, request.error, bool(request.resume_id)) == (S.APPROVED, "Key backend unavailable", True)
    assert OperatorAlert.objects.get(kind="keys_unavailable").closed_at is None
    walk([request.pk])
    assert Key.objects.get().state == "claimed"  # held: nobody tries meanwhile
    twin_keys.reachable = True
    assert recovery.release_for_answering_keys() == 1
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, len(twin_keys.keys)) == (S.COMPLETED, 1)
    recovery.release_for_answering_keys()  # the next turn finds that keys were used
    assert OperatorAlert.objects.get(kind="keys_unavailable").closed_at is not None


def test_key_whose_answer_was_lost_is_found_again_not_made_again(
    twin_portal: Requester, twin_ca: TwinCAClient, twin_keys: TwinKeyBackend, make_spec: MakeSpec
) -> None:
    twin_keys.faults = [KeyFault.ANSWER_LOST]
    request = ask(twin_portal, make_spec())
    for _ in range(2):
        walk([request.pk])
    request.refresh_from_db()
    assert (request.state, len(twin_keys.keys)) == (S.COMPLETED, 1)


def test_key_that_nobody_claimed_is_never_adopted(twin_portal: Requester, twin_keys: TwinKeyBackend, make_spec: MakeSpec) -> None:
    twin_keys.create("api-example-com", KeySpec.EC_P256, key_id=uuid.uuid4())
    request = ask(twin_portal, make_spec("api.example.com"))
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, "did not make it" in request.error) == (S.FAILED, True)


def test_two_names_with_one_slug_get_two_keys(twin_portal: Requester, twin_keys: TwinKeyBackend, make_spec: MakeSpec) -> None:
    requests = [ask(twin_portal, make_spec(name)) for name in ("api.example.com", "api-example.com.example.com", "api.example.com")]
    walk([request.pk for request in requests])
    assert sorted(Key.objects.values_list("name", flat=True)) == ["api-example-com", "api-example-com-2", "api-example-com-example-com"]
    assert len({key.spki_sha256 for key in Key.objects.all()}) == 3


def test_what_kills_workers_alone_fails_after_three_losses_and_can_be_resumed(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient
) -> None:
    poison, good = ask(twin_portal, make_spec("poison.example.com")), ask(twin_portal, make_spec("good.example.com"))
    steps.check_policy([poison.pk, good.pk])
    now = database_now()
    for number in range(3):
        Attempt.objects.create(request=poison, step="key", number=number + 1, lease_until=now, opened_at=now)
        let_leases_end()
        if number < 2:
            CertificateRequest.objects.filter(pk=poison.pk).update(losses=number + 1)
            Attempt.objects.filter(request=poison).update(closed_at=now, outcome="lost")
    walk([poison.pk, good.pk])
    poison.refresh_from_db()
    good.refresh_from_db()
    assert (poison.state, good.state) == (S.FAILED, S.COMPLETED)
    resume(poison.resume_id or "", authority=Authority(SYSTEM))
    walk([poison.pk])
    poison.refresh_from_db()
    assert poison.state == S.COMPLETED


def test_losses_in_company_halve_the_chunk_and_blame_nobody() -> None:
    assert [recovery.chunk_size(losses) for losses in (0, 1, 2, 3, 4, 7, 50)] == [100, 100, 50, 25, 12, 1, 1]


def test_cancelled_request_whose_order_was_signed_is_revoked_at_the_ca(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    twin_ca.faults = [Fault.ANSWER_LOST]
    request = ask(twin_portal, make_spec())
    walk([request.pk])
    request.refresh_from_db()
    approval.cancel(request, authority=Authority(SYSTEM))
    assert twin_ca.book.living(request.public_id) != []
    assert recovery.clear_after_the_end() == 1
    assert twin_ca.book.living(request.public_id) == []


def test_held_request_that_is_cancelled_waits_for_nothing(twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient) -> None:
    request = ask(twin_portal, make_spec())
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step([request.pk])
    hold_for_ca([request.pk], "down")
    approval.cancel(request, authority=Authority(SYSTEM))
    request.refresh_from_db()
    assert (request.state, request.held_since, request.error) == (S.CANCELLED, None, "")


def test_held_requests_are_released_oldest_first_and_in_portions(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient
) -> None:
    requests = [ask(twin_portal, make_spec(f"h{n}.example.com")) for n in range(5)]
    ids = [request.pk for request in requests]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step(ids)
    for pk in ids:
        hold_for_ca([pk], "down")
    assert release_held(states=[S.CSR_CREATED], limit=2) == 2
    assert list(CertificateRequest.objects.filter(held_since__isnull=True).values_list("pk", flat=True).order_by("pk")) == ids[:2]


def test_a_ca_that_has_issued_again_is_sent_all_that_waits(
    twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "RELEASE_FIRST", 2)
    ids = [ask(twin_portal, make_spec(f"h{n}.example.com")).pk for n in range(5)]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step(ids)
    for pk in ids:
        hold_for_ca([pk], "down")
    # Some are tried at once; without a result there is a pause.
    assert [recovery.release_for_answering_cas(), recovery.release_for_answering_cas()] == [2, 0]
    walk(ids[:2])
    assert recovery.release_for_answering_cas() == 3
    for pk in ids[2:]:
        hold_for_ca([pk], "down again")
    assert recovery.release_for_answering_cas() == 2  # what it did before that says nothing


def test_key_backend_whose_keys_were_certified_again_is_sent_all_that_waits(
    twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "RELEASE_FIRST", 2)
    ids = [ask(twin_portal, make_spec(f"h{n}.example.com")).pk for n in range(7)]
    steps.check_policy(ids)
    hold_for_keys(ids, "sealed")
    assert [recovery.release_for_answering_keys(), recovery.release_for_answering_keys()] == [2, 0]
    walk(ids[:2])
    assert recovery.release_for_answering_keys() == 5


@pytest.mark.parametrize(("decision", "state"), [("deny", S.REJECTED), ("approval", S.AWAITING_APPROVAL), ("allow", S.COMPLETED)])
def test_second_certificate_for_the_same_names_is_what_the_policy_says(
    twin_portal: Requester, make_spec: MakeSpec, decision: str, state: S
) -> None:
    first = ask(twin_portal, make_spec("twice.example.com"))
    walk([first.pk])
    new_policy("v2.4", duplicates={"inventory": decision})
    second, other = ask(twin_portal, make_spec("twice.example.com")), ask(twin_portal, make_spec("once.example.com"))
    walk([second.pk, other.pk])
    second.refresh_from_db()
    other.refresh_from_db()
    assert (second.state, other.state) == (state, S.COMPLETED)
    if decision == "deny":
        assert Certificate.objects.get(request=first).cert_id in second.error
