"""Crashes, stalls and interference between the beats of the own CA, whose book shares the workflow's transactions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import transaction

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.errors import InputRefused
from certs.issuance import recovery
from certs.issuance.advance import Unavailable, advance
from certs.models import Attempt, Certificate, CertificateRequest, IssuanceIntent, UnclaimedResult
from certs.requests.approvals import approval
from certs.requests.representation import is_settled
from certs.requests.submit import submit_many
from certs.revocation.deliver import process_revocations
from certs.spec import CertificateSpec
from certs.status.ocsp.lookup import look_up
from certs.status.publishing import abandon_old_intents
from db.clock import database_now
from keys.public_keys import mark_compromised
from keys.spec import spki_der
from policy.models import Profile
from tests.certs import steps
from tests.certs.lanes import Lane, conduct, dismiss
from tests.portal.fixtures import SYSTEM, Portal

BOUNDARIES = 3  # intent noted, signed, recorded
HOWS = ("crash", "stall, lease runs", "stall, lease over")
BETWEEN = ("nothing", "cancel", "compromise", "given up")
State = IssuanceIntent.State
Schedule = tuple[int, str, str, int | None]


@pytest.fixture
def lanes() -> Iterator[tuple[Lane, Lane]]:
    conduct()
    both = (Lane("worker A"), Lane("worker B"))
    yield both
    for lane in both:
        lane.close()
    dismiss()


CHAIN = (steps.check_policy, steps.submit_to_ca, steps.record_inventory)
WAYS = ("chain", "at once")  # as Celery's tasks, and as a process that has every login


def walk(ids: list[int], way: str = "chain") -> None:
    for step in CHAIN if way == "chain" else (partial(advance, until=S.COMPLETED),):
        with suppress(Unavailable):
            step(ids)


def let_leases_end() -> None:
    Attempt.objects.filter(closed_at__isnull=True).update(lease_until=database_now())


def interfere(request: CertificateRequest, what: str) -> None:
    request.refresh_from_db()
    if what == "cancel" and request.state not in (S.ISSUED, S.COMPLETED):
        approval.cancel(request, authority=Authority(SYSTEM))
    if what == "compromise":
        with transaction.atomic():
            mark_compromised(request.spki_sha256, "reported", now=database_now(), actor=SYSTEM)
    if what == "given up":  # as if an hour had passed
        IssuanceIntent.objects.filter(order_ref=request.public_id).update(created_at=database_now() - timedelta(hours=2))
        abandon_old_intents()


def spki() -> bytes:
    return spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())


def run(schedule: Schedule, portal: Portal, lanes: tuple[Lane, Lane], name: str, way: str = "chain") -> CertificateRequest:
    at, how, between, b = schedule
    first, second = lanes
    spec = CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=b"", spki_der=spki())
    (request,) = submit_many([spec], requester=portal.requester())
    ids = [request.pk]
    where = first.start(lambda: walk(ids, way))
    for _ in range(at):
        where = first.go_on() if where else None
    if how == "crash" and first.at:
        first.crash()
    interfere(request, between)
    if how != "stall, lease runs":
        let_leases_end()
    where = second.start(lambda: walk(ids, way))
    for _ in range(b or 0):
        where = second.go_on() if where else None
    if b is not None and second.at:
        second.crash()
    second.finish()
    first.finish()  # the stalled worker wakes up and goes on as if nothing had been
    for _ in range(6):
        request.refresh_from_db()
        if not is_settled(request):
            let_leases_end()
            walk(ids, way)
        if not recovery.settle_unclaimed() + recovery.clear_after_the_end() + process_revocations() and is_settled(request):
            break
    request.refresh_from_db()
    return request


def problems(request: CertificateRequest) -> list[str]:
    """What does not balance between the request, the inventory, the CA's book and the audit log."""
    wrong = [] if request.state in (S.COMPLETED, S.CANCELLED, S.REJECTED) else [f"ended as {request.state}: {request.error}"]
    recorded = {c.serial_number: c for c in Certificate.objects.filter(request=request)}
    book = list(IssuanceIntent.objects.filter(order_ref=request.public_id))
    standing = [intent for intent in book if intent.state != State.ABANDONED]
    events = list(AuditEvent.objects.filter(subject=request.subject).values_list("event", flat=True))
    once = [events.count(event) for event in ("certificate:issued", "certificate:recorded")]
    if request.state == S.COMPLETED and (len(recorded) != 1 or once != [1, 1]):
        wrong.append(f"{len(recorded)} certificates, {once} events")
    if request.state != S.COMPLETED and (recorded or any(once)):
        wrong.append(f"{request.state}, with {len(recorded)} certificates and {once} events")
    if len(standing) > 1:
        wrong.append("two notes for one order")
    for intent in book:
        certificate = recorded.get(intent.serial_number)
        if certificate is not None and intent.state != State.SIGNED:
            wrong.append(f"recorded, but its note is {intent.state}")
        if certificate is not None and intent.revoked_at is not None and certificate.status == Certificate.Status.GOOD:
            wrong.append("good in the inventory, revoked in the book")
        if certificate is None and intent.state == State.SIGNED:
            wrong.append("signed, and not in the inventory")
    if UnclaimedResult.objects.filter(request=request, settled_at__isnull=True).exists():
        wrong.append("an unclaimed result is not settled")
    return wrong


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("way", WAYS)
def test_own_cas_book_and_the_inventory_agree(between: str, way: str, portal: Portal, lanes: tuple[Lane, Lane]) -> None:
    for number, (at, how, b) in enumerate(itertools.product(range(BOUNDARIES), HOWS, (None, 0, 1, 2))):
        schedule = (at, how, between, b)
        request = run(schedule, portal, lanes, f"{between.replace(' ', '')}{number}.example.com", way)
        assert (schedule, problems(request)) == (schedule, [])


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_order_that_cannot_be_made_ends_alone(portal: Portal) -> None:
    """Its profile is one that the policy knows and no certificate is made of."""
    Profile.objects.create(name="code-signing", ekus=["codeSigning"])
    specs = [
        CertificateSpec(f"p{n}.example.com", (f"p{n}.example.com",), (), "ec-p256", 90, "tls-server", csr_der=b"", spki_der=spki())
        for n in range(3)
    ]
    requests = submit_many(specs, requester=portal.requester())
    CertificateRequest.objects.filter(pk=requests[1].pk).update(profile="code-signing")
    walk([request.pk for request in requests])
    states = list(CertificateRequest.objects.order_by("pk").values_list("state", flat=True))
    assert (states[0], states[2]) == (S.COMPLETED, S.COMPLETED)
    assert states[1] in (S.FAILED, S.REJECTED)


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_profile_that_no_certificate_is_made_of_is_refused_at_the_door(portal: Portal) -> None:
    Profile.objects.create(name="code-signing", ekus=["codeSigning"])
    spec = CertificateSpec("p.example.com", ("p.example.com",), (), "ec-p256", 90, "code-signing", csr_der=b"", spki_der=spki())
    with pytest.raises(InputRefused, match="no profile named code-signing"):
        submit_many([spec], requester=portal.requester())


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_revoked_late_answer_keeps_its_time_and_ocsp_says_what_the_crl_says(portal: Portal, lanes: tuple[Lane, Lane]) -> None:
    request = run((1, "stall, lease over", "cancel", None), portal, lanes, "lost.example.com")
    intent = IssuanceIntent.objects.get(order_ref=request.public_id)
    assert (request.state, intent.state, intent.revoked_at is not None) == (S.CANCELLED, State.INTENDED, True)
    assert look_up(intent.issuer_id, intent.serial_number).status.word == "revoked"
    IssuanceIntent.objects.update(created_at=database_now() - timedelta(hours=2))
    assert abandon_old_intents() == 1
    assert IssuanceIntent.objects.get(pk=intent.pk).revoked_at == intent.revoked_at


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_late_answer_for_the_certificate_that_was_recorded_revokes_nothing(portal: Portal, lanes: tuple[Lane, Lane]) -> None:
    """Both workers sign the same bytes; ECDSA gives two signatures, and both are of the one serial number that is in the inventory."""
    request = run((1, "stall, lease over", "nothing", None), portal, lanes, "late.example.com")
    certificate = Certificate.objects.get(request=request)
    late = UnclaimedResult.objects.get(request=request)
    assert bytes(late.payload) != bytes(certificate.body.der)
    assert late.settlement == "the same certificate was recorded"
    assert (certificate.status, IssuanceIntent.objects.get(order_ref=request.public_id).revoked_at) == (Certificate.Status.GOOD, None)
