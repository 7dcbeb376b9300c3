"""Revocation: an intent that is kept until the CA has done it; who may, what may follow what, and what it does to renewals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import connections

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.ca.base import Capabilities, Lookup, NotDoneYet, RevocationOrder
from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.errors import Conflict, InputRefused, NotFound, NotPermitted
from certs.models import Certificate, CertificateRequest, OperatorAlert, Revocation
from certs.renewal.plan import KeyOption
from certs.renewal.renew import renew
from certs.requests.lineage import cancel_stopped_renewals
from certs.requests.submit import Requester, submit_many
from certs.requests.turn import Turn
from certs.revocation.deliver import TRIES_BEFORE_ALARM, process_revocations
from certs.revocation.key_destruction import process_destructions
from certs.revocation.request import request_release
from certs.revocation.revoke import Revoked, revocation_result, revoke
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import Key, PublicKey
from tests.cast import Cast
from tests.certs.life import PORTAL, SYSTEM, brought, events_of, finished, issued, renewed, walk, years_later
from tests.certs.renewal.test_renew import acting
from tests.twins.ca import TwinCAClient
from tests.twins.keys import TwinKeyBackend

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
Status = Certificate.Status


@pytest.fixture
def certificate(twin_portal: Requester, make_spec: MakeSpec) -> Certificate:
    return issued(make_spec(), twin_portal)


def revoked(certificate: Certificate, reason: R, **more: Any) -> Revoked:
    return revoke(certificate, reason=reason, authority=PORTAL, begin=False, **more)


def status_of(certificate: Certificate) -> str:
    certificate.refresh_from_db()
    return certificate.status


def at_ca(certificate: Certificate, ca: TwinCAClient) -> bool:
    return next(one.revoked for one in ca.book.signed if f"{one.serial:x}" == certificate.serial_number)


def test_clock_of_another_portal_that_is_ahead_holds_up_no_revocation(certificate: Certificate) -> None:
    now = database_now()
    with pytest.raises(InputRefused, match="in the future"):
        revoked(certificate, R.SUPERSEDED, invalidity_date=now + timedelta(minutes=6))
    revoked(certificate, R.SUPERSEDED, invalidity_date=now + timedelta(minutes=4))
    kept = Revocation.objects.get().invalidity_date
    assert kept is not None
    assert now <= kept <= database_now()  # what is published is not of the future


def test_revocation_is_pending_until_the_ca_has_done_it(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    twin_ca.reachable = False
    revoked(certificate, R.SUPERSEDED)
    assert (process_revocations(), status_of(certificate), at_ca(certificate, twin_ca)) == (0, Status.REVOCATION_PENDING, False)
    assert "503" in Revocation.objects.get().last_error
    twin_ca.reachable = True
    assert (process_revocations(), status_of(certificate), at_ca(certificate, twin_ca)) == (1, Status.REVOKED, True)
    assert process_revocations() == 0
    assert events_of(certificate) == ["certificate:revocation_requested", "certificate:revoked"]


def test_two_deliveries_at_once_send_a_revocation_once(
    certificate: Certificate, twin_ca: TwinCAClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of the first one keeps the second one away while the CA works on it."""
    revoked(certificate, R.SUPERSEDED)
    sent, revoke_there = [], twin_ca.revoke

    def slow(order: RevocationOrder) -> None:
        sent.append(order.reason)
        assert process_revocations() == 0
        revoke_there(order)

    monkeypatch.setattr(twin_ca, "revoke", slow)
    assert (process_revocations(), sent) == (1, [R.SUPERSEDED])
    assert events_of(certificate) == ["certificate:revocation_requested", "certificate:revoked"]


def test_revocation_that_a_person_changes_while_it_is_sent_is_sent_again(
    certificate: Certificate, twin_ca: TwinCAClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the CA has confirmed is the reason of before; the next run sends the new one, without waiting for a lease."""
    revoked(certificate, R.SUPERSEDED)
    sent, revoke_there = [], twin_ca.revoke

    def meanwhile(order: RevocationOrder) -> None:
        sent.append(order.reason)
        if len(sent) == 1:
            revoked(certificate, R.KEY_COMPROMISE)
        revoke_there(order)

    monkeypatch.setattr(twin_ca, "revoke", meanwhile)
    assert (process_revocations(), status_of(certificate)) == (0, Status.REVOCATION_PENDING)
    assert Revocation.objects.get().confirmed_at is None
    assert (process_revocations(), sent) == (1, [R.SUPERSEDED, R.KEY_COMPROMISE])
    assert Revocation.objects.get().confirmed_at is not None


def test_no_revocation_is_sent_after_the_turn_is_over(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA that takes seconds for each of a page held its worker beyond the time limit of the task and the lease on the CA."""
    for name in ("a.example.com", "b.example.com", "c.example.com"):
        revoked(issued(make_spec(name), twin_portal), R.SUPERSEDED)
    turn = Turn()
    monkeypatch.setattr(turn, "is_over", lambda: any(one.revoked for one in twin_ca.book.signed))
    assert process_revocations(turn) == 1
    assert sum(one.revoked for one in twin_ca.book.signed) == 1
    assert process_revocations() == 2  # none of the others has to wait for a lease


def test_ca_that_stays_down_is_told_to_the_operator_once_and_the_alert_closes(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    for name in ("a.example.com", "b.example.com"):
        revoked(issued(make_spec(name), twin_portal), R.SUPERSEDED)
    twin_ca.reachable = False
    for _ in range(TRIES_BEFORE_ALARM + 1):
        assert process_revocations() == 0
    alert = OperatorAlert.objects.get(kind="revocation_pending", closed_at__isnull=True)
    assert alert.message.startswith("2 revocation(s) wait for Twin-CA")
    twin_ca.reachable = True
    assert process_revocations() == 2
    alert.refresh_from_db()
    assert alert.closed_at is not None


def test_ca_that_only_accepts_is_asked_again_and_alerts_when_it_stays_so(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another portal does, whose own CA does it later: many at once are no trouble."""
    for number in range(TRIES_BEFORE_ALARM + 1):
        revoked(issued(make_spec(f"a{number}.example.com"), twin_portal), R.SUPERSEDED)
    with monkeypatch.context() as patched:
        patched.setattr(twin_ca, "revoke", Mock(side_effect=NotDoneYet("Twin-CA has not done it yet")))
        assert process_revocations() == 0
        assert set(Certificate.objects.values_list("status", flat=True)) == {Status.REVOCATION_PENDING}
        assert not OperatorAlert.objects.filter(kind="revocation_pending").exists()
        for _ in range(TRIES_BEFORE_ALARM):
            assert process_revocations() == 0
        assert "has not done it yet" in OperatorAlert.objects.get(kind="revocation_pending").message
    assert process_revocations() == TRIES_BEFORE_ALARM + 1
    assert not OperatorAlert.objects.filter(kind="revocation_pending", closed_at=None).exists()


def test_same_reason_again_changes_nothing_and_another_is_refused(certificate: Certificate) -> None:
    first = revoked(certificate, R.SUPERSEDED).revocation
    assert revoked(certificate, R.SUPERSEDED).revocation.requested_at == first.requested_at
    with pytest.raises(Conflict, match="revoked already, as superseded"):
        revoked(certificate, R.UNSPECIFIED)
    assert events_of(certificate) == ["certificate:revocation_requested"]


def test_key_compromise_is_added_later_and_the_ca_told_again(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    revoked(certificate, R.SUPERSEDED)
    process_revocations()
    first = Revocation.objects.get()
    revoked(certificate, R.KEY_COMPROMISE)
    again = Revocation.objects.get()
    assert (again.reason, again.requested_at, again.confirmed_at) == (R.KEY_COMPROMISE, first.requested_at, None)
    assert status_of(certificate) == Status.REVOKED
    assert process_revocations() == 1
    with pytest.raises(Conflict):
        revoked(certificate, R.SUPERSEDED)


def test_expired_certificate_takes_only_key_compromise(certificate: Certificate) -> None:
    years_later(certificate, days_left=-1)
    with pytest.raises(Conflict, match="expired on"):
        revoked(certificate, R.SUPERSEDED)
    revoked(certificate, R.KEY_COMPROMISE)
    assert status_of(certificate) == Status.REVOCATION_PENDING


def test_date_of_the_requester_is_kept_as_invalidity_date_only(certificate: Certificate) -> None:
    then = database_now() - timedelta(days=3)
    revocation = revoked(certificate, R.KEY_COMPROMISE, invalidity_date=then, comment="seen on a forum").revocation
    assert (revocation.invalidity_date, revocation.comment) == (then, "seen on a forum")
    assert revocation.requested_at > then
    assert "forum" not in str(list(AuditEvent.objects.values_list("data", flat=True)))


def test_date_in_the_future_is_refused(certificate: Certificate) -> None:
    with pytest.raises(InputRefused, match="future"):
        revoked(certificate, R.SUPERSEDED, invalidity_date=database_now() + timedelta(days=1))


def test_hold_is_released_only_after_the_ca_confirmed_both(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    revoked(certificate, R.CERTIFICATE_HOLD)
    with pytest.raises(Conflict, match="has not confirmed the hold"):
        request_release(certificate, authority=Authority(SYSTEM), begin=False)
    process_revocations()
    twin_ca.reachable = False
    request_release(certificate, authority=Authority(SYSTEM), begin=False)
    assert (process_revocations(), status_of(certificate)) == (0, Status.REVOKED)
    twin_ca.reachable = True
    assert (process_revocations(), status_of(certificate), at_ca(certificate, twin_ca)) == (1, Status.GOOD, False)
    with pytest.raises(Conflict, match="not on hold"):
        request_release(certificate, authority=Authority(SYSTEM), begin=False)
    assert events_of(certificate) == [
        "certificate:revocation_requested",
        "certificate:revoked",
        "certificate:release_requested",
        "certificate:released",
    ]


def test_released_certificate_can_be_revoked_for_good(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    for reason in (R.CERTIFICATE_HOLD, R.CERTIFICATE_HOLD, R.CESSATION_OF_OPERATION):
        revoked(certificate, reason)
        process_revocations()
        if reason is R.CERTIFICATE_HOLD:
            request_release(certificate, authority=Authority(SYSTEM), begin=False)
            process_revocations()
            assert status_of(certificate) == Status.GOOD
    assert (status_of(certificate), at_ca(certificate, twin_ca)) == (Status.REVOKED, True)
    with pytest.raises(Conflict, match="final"):
        request_release(certificate, authority=Authority(SYSTEM), begin=False)


def test_hold_becomes_final_and_a_release_under_way_loses(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    revoked(certificate, R.CERTIFICATE_HOLD)
    process_revocations()
    request_release(certificate, authority=Authority(SYSTEM), begin=False)
    revoked(certificate, R.PRIVILEGE_WITHDRAWN)
    process_revocations()
    assert (status_of(certificate), at_ca(certificate, twin_ca)) == (Status.REVOKED, True)
    assert Revocation.objects.get().reason == R.PRIVILEGE_WITHDRAWN
    assert "certificate:released" not in events_of(certificate)


def test_ca_without_a_way_back_takes_no_hold(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    twin_ca.capabilities = Capabilities(lookup=Lookup.BY_ORDER_REF, explicit_names=True, holds=False)
    with pytest.raises(Conflict, match="cannot release a hold"):
        revoked(certificate, R.CERTIFICATE_HOLD)
    assert status_of(certificate) == Status.GOOD


def test_owner_and_security_team_may_revoke_others_see_nothing(certificate: Certificate, twin_portal: Requester, cast: Cast) -> None:
    for name, error in (("outsider", NotFound), ("auditor", NotPermitted)):
        with pytest.raises(error):
            revoke(certificate, reason=R.SUPERSEDED, authority=acting(cast[name]), begin=False)
    assert status_of(certificate) == Status.GOOD
    revoke(certificate, reason=R.SUPERSEDED, authority=acting(cast["requester"]), begin=False)
    revoke(certificate, reason=R.KEY_COMPROMISE, authority=acting(cast["veteran"]), begin=False)
    assert Revocation.objects.get().reason == R.KEY_COMPROMISE


# --- a compromised key ---


def test_compromise_revokes_every_certificate_on_the_key_and_blocks_it(twin_portal: Requester, make_spec: MakeSpec) -> None:
    first = issued(make_spec(), twin_portal)
    second = renewed(first)
    other = issued(make_spec("other.example.com"), twin_portal)
    done = revoked(first, R.KEY_COMPROMISE)
    assert ([c.pk for c in done.also], done.left, done.key_blocked) == ([second.pk], (), True)
    assert [status_of(c) for c in (first, second, other)] == [Status.REVOCATION_PENDING, Status.REVOCATION_PENDING, Status.GOOD]
    assert PublicKey.objects.get(pk=first.spki_sha256).blocked_at is not None
    assert Key.objects.get(spki_sha256=first.spki_sha256).state == Key.State.COMPROMISED
    with pytest.raises(Conflict):
        renew(second, authority=PORTAL, channel="command", begin=False)


def test_other_certificates_on_the_key_can_be_left_and_are_named(certificate: Certificate) -> None:
    second = renewed(certificate)
    done = revoked(certificate, R.KEY_COMPROMISE, only=())
    assert (done.also, [c.pk for c in done.left], status_of(second)) == ((), [second.pk], Status.GOOD)


def test_owners_word_about_a_brought_key_revokes_and_opens_a_case(twin_portal: Requester, cast: Cast) -> None:
    certificate = issued(brought("own.example.com"), twin_portal)
    done = revoke(certificate, reason=R.KEY_COMPROMISE, authority=acting(cast["requester"]), begin=False)
    assert (done.key_blocked, done.case_opened, status_of(certificate)) == (False, True, Status.REVOCATION_PENDING)
    assert PublicKey.objects.get().blocked_at is None
    assert OperatorAlert.objects.get(kind="key_claimed").closed_at is None
    done = revoke(certificate, reason=R.KEY_COMPROMISE, authority=acting(cast["veteran"]), begin=False)
    assert (done.key_blocked, done.case_opened) == (True, False)
    assert PublicKey.objects.get().blocked_at is not None
    assert OperatorAlert.objects.get(kind="key_claimed").closed_at is not None


def test_key_of_a_claim_is_refused_to_the_team_that_claimed(twin_portal: Requester, cast: Cast) -> None:
    spec = brought("own.example.com")
    certificate = issued(spec, twin_portal)
    revoke(certificate, reason=R.KEY_COMPROMISE, authority=acting(cast["requester"]), begin=False)
    (request,) = submit_many([spec], requester=twin_portal)
    walk([request.pk])
    request.refresh_from_db()
    assert (request.state, "compromised" in request.error) == (S.REJECTED, True)


# --- revoke and renew at once ---


def test_revocation_first_cancels_the_open_renewal(certificate: Certificate, twin_ca: TwinCAClient) -> None:
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    revoked(certificate, R.CESSATION_OF_OPERATION)
    request = finished(renewal)
    assert (request.state, certificate.cert_id in request.error) == (S.CANCELLED, True)
    assert len(twin_ca.book.signed) == 1


def test_superseding_does_not_stop_the_renewal(certificate: Certificate) -> None:
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    revoked(certificate, R.SUPERSEDED)
    assert finished(renewal).state == S.COMPLETED


@pytest.mark.parametrize("reason", [R.CESSATION_OF_OPERATION, R.KEY_COMPROMISE])
@pytest.mark.parametrize("key_option", [KeyOption.DEFAULT, KeyOption.NEW])
def test_result_of_a_renewal_under_way_is_revoked(
    certificate: Certificate, twin_ca: TwinCAClient, reason: R, key_option: KeyOption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA signs, and before its answer is recorded the old certificate is revoked; nobody cancels the request meanwhile."""
    monkeypatch.setattr("certs.revocation.request.cancel_stopped_renewals", lambda _certificate: 0)
    renewal = renew(certificate, authority=PORTAL, channel="command", key_option=key_option, begin=False)
    signing = twin_ca.issue_many

    def sign_and_revoke(orders: Any) -> Any:
        answers = signing(orders)
        revoked(certificate, reason)
        return answers

    monkeypatch.setattr(twin_ca, "issue_many", sign_and_revoke)
    request = finished(renewal)
    expected = R.CESSATION_OF_OPERATION if key_option is KeyOption.NEW else reason
    assert (request.state, status_of(request.certificate)) == (S.COMPLETED, Status.REVOCATION_PENDING)
    assert request.certificate.revocation.reason == expected
    process_revocations()
    assert [one.revoked for one in twin_ca.book.signed] == [True, True]


def test_sweeper_cancels_what_the_revocation_left(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    renewal = renew(certificate, authority=PORTAL, channel="command", begin=False)
    monkeypatch.setattr("certs.revocation.request.cancel_stopped_renewals", lambda _certificate: 0)
    revoked(certificate, R.CERTIFICATE_HOLD)
    assert (cancel_stopped_renewals(), cancel_stopped_renewals()) == (1, 0)
    renewal.request.refresh_from_db()
    assert renewal.request.state == S.CANCELLED


def test_revoking_and_renewing_at_once_has_an_order(twin_portal: Requester, make_spec: MakeSpec) -> None:
    """Whoever comes first: a renewal of a revoked certificate never ends with a certificate that is good."""
    for number in range(6):
        certificate = issued(make_spec(f"race-{number}.example.com"), twin_portal)
        barrier = threading.Barrier(2)

        def both(act: Callable[[], Any], gate: threading.Barrier = barrier) -> None:
            try:
                gate.wait(10)
                act()
            except Conflict:
                pass
            finally:
                connections.close_all()

        acts = (
            lambda c=certificate: walk([renew(c, authority=PORTAL, channel="command", begin=False).request.pk]),
            lambda c=certificate: revoked(c, R.KEY_COMPROMISE),
        )
        threads = [threading.Thread(target=both, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        open_ones = CertificateRequest.objects.filter(renewed_from=certificate).exclude(state__in=(S.COMPLETED, S.CANCELLED, S.REJECTED))
        walk(list(open_ones.values_list("pk", flat=True)))
        assert not open_ones.exists()
        good = Certificate.objects.filter(spki_sha256=certificate.spki_sha256, status=Status.GOOD)
        assert not good.exists()


# --- destroying the key ---


def test_key_is_destroyed_with_a_receipt_that_names_what_it_served(certificate: Certificate, twin_keys: TwinKeyBackend) -> None:
    second = renewed(certificate)
    done = revoked(certificate, R.KEY_COMPROMISE, destroy_key=True)
    assert (done.destroying, done.not_destroyed_because) == (True, "")
    assert certificate.key is not None
    assert (process_destructions(), process_destructions()) == (1, 0)
    certificate.key.refresh_from_db()
    assert (certificate.key.state, twin_keys.find(certificate.key.name, key_id=certificate.key.pk)) == (Key.State.DESTROYED, None)
    receipt = AuditEvent.objects.get(event="key:destroyed").data
    assert receipt["certificates"] == sorted([certificate.cert_id, second.cert_id])
    assert (receipt["backend"], receipt["key"]) == ("twin", certificate.key.locator)
    told = revocation_result(done)
    assert (told["key_destroyed"], told["receipt"]["key"]) == (True, certificate.key.locator)


def test_key_that_still_serves_is_not_destroyed_but_the_revocation_stands(certificate: Certificate) -> None:
    second = renewed(certificate)
    done = revoked(certificate, R.SUPERSEDED, destroy_key=True)
    assert (done.destroying, second.cert_id in done.not_destroyed_because) == (False, True)
    assert status_of(certificate) == Status.REVOCATION_PENDING
    assert process_destructions() == 0


@pytest.mark.parametrize("kind", ["brought", "hold"])
def test_key_that_is_not_ours_or_only_on_hold_is_not_destroyed(twin_portal: Requester, make_spec: MakeSpec, kind: str) -> None:
    certificate = issued(brought("own.example.com") if kind == "brought" else make_spec(), twin_portal)
    done = revoked(certificate, R.KEY_COMPROMISE if kind == "brought" else R.CERTIFICATE_HOLD, destroy_key=True)
    assert ("owner's own" if kind == "brought" else "only on hold") in done.not_destroyed_because


def test_destruction_waits_for_a_backend_that_is_sealed(certificate: Certificate, twin_keys: TwinKeyBackend) -> None:
    revoked(certificate, R.KEY_COMPROMISE, destroy_key=True)
    twin_keys.reachable = False
    assert process_destructions() == 0
    alert = OperatorAlert.objects.get(kind="key_not_destroyed")
    twin_keys.reachable = True
    assert process_destructions() == 1
    alert.refresh_from_db()
    assert alert.closed_at is not None
