"""Replace with a new key, then revoke: the plan, the moment of the revocation, crashes and withdrawal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RequestState
from certs.errors import Conflict, CSRRefused, InputRefused, NotFound, NotPermitted, PolicyRefused
from certs.models import Certificate, CertificateRequest, OperatorAlert, PlannedRevocation
from certs.renewal.planned_revocation import open_plan, replace_then_revoke, revoke_replaced, withdraw
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from certs.tasks import sweep
from db.clock import database_now
from keys.models import PublicKey
from tests.cast import person
from tests.certs.life import brought, events_of, issued, renewed, walk
from tests.certs.renewal.test_renew_with_csr import csr_of
from tests.portal.threads import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]
Status = Certificate.Status


@pytest.fixture
def alice(twin_portal: Requester) -> Any:
    return person("alice", team=twin_portal.team)


@pytest.fixture
def certificate(twin_portal: Requester, make_spec: MakeSpec, alice: Any) -> Certificate:
    return issued(make_spec("shop.example.com"), twin_portal)


def by(user: Any) -> Authority:
    return Authority(Actor("user", user.username), user)


def planned(certificate: Certificate, user: Any, **more: Any) -> PlannedRevocation:
    given = {"hours": 24, "when_issued": True} | more
    return replace_then_revoke(certificate, authority=by(user), channel="portal", **given)


def after_deadline(plan: PlannedRevocation) -> None:
    PlannedRevocation.objects.filter(pk=plan.pk).update(deadline=database_now() - timedelta(seconds=1))


def status_of(certificate: Certificate) -> str:
    return str(Certificate.objects.values_list("status", flat=True).get(pk=certificate.pk))


def test_certificate_is_revoked_once_its_replacement_is_issued_and_not_before(certificate: Certificate, alice: Any) -> None:
    plan = planned(certificate, alice)
    assert (revoke_replaced(), status_of(certificate)) == (0, Status.GOOD)
    walk([plan.replacement_id])
    assert (revoke_replaced(), revoke_replaced()) == (1, 0)
    new = Certificate.objects.get(renewed_from=certificate)
    assert (status_of(certificate), new.status, new.spki_sha256 != certificate.spki_sha256) == (
        Status.REVOCATION_PENDING,
        Status.GOOD,
        True,
    )
    plan.refresh_from_db()
    assert (plan.outcome, plan.ended_at is not None) == ("revoked", True)
    assert PublicKey.objects.get(pk=certificate.spki_sha256).blocked_at is not None
    assert [one for one in events_of(certificate) if "revocation" in one] == [
        "certificate:revocation_planned",
        "certificate:revocation_requested",
    ]


def test_deadline_leaves_time_to_install(certificate: Certificate, alice: Any) -> None:
    plan = planned(certificate, alice, when_issued=False, hours=4)
    walk([plan.replacement_id])
    assert (revoke_replaced(), status_of(certificate)) == (0, Status.GOOD)
    after_deadline(plan)
    assert (revoke_replaced(), status_of(certificate)) == (1, Status.REVOCATION_PENDING)


def test_deadline_revokes_without_a_replacement_which_is_issued_all_the_same(certificate: Certificate, alice: Any) -> None:
    """The CA is away until after the deadline."""
    plan = planned(certificate, alice)
    after_deadline(plan)
    assert (revoke_replaced(), status_of(certificate)) == (1, Status.REVOCATION_PENDING)
    assert CertificateRequest.objects.get(pk=plan.replacement_id).state == RequestState.SUBMITTED
    walk([plan.replacement_id])
    assert Certificate.objects.get(renewed_from=certificate).status == Status.GOOD


def test_replacement_of_a_withdrawn_plan_stops_with_a_later_revocation(certificate: Certificate, alice: Any) -> None:
    plan = planned(certificate, alice)
    withdraw(certificate, authority=by(alice))
    assert (open_plan(certificate), revoke_replaced()) == (None, 0)
    assert AuditEvent.objects.filter(event="certificate:revocation_withdrawn").count() == 1
    with pytest.raises(NotFound):
        withdraw(certificate, authority=by(alice))
    walk([plan.replacement_id])
    assert (revoke_replaced(), status_of(certificate)) == (0, Status.GOOD)


def test_crash_between_replacement_and_plan_is_mended_by_asking_again(
    certificate: Certificate, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("certs.renewal.planned_revocation.record", _crash)
        with pytest.raises(RuntimeError):
            planned(certificate, alice)
    assert (PlannedRevocation.objects.count(), CertificateRequest.objects.filter(renewed_from=certificate).count()) == (0, 1)
    first, second = planned(certificate, alice), planned(certificate, alice)
    assert (first.pk, CertificateRequest.objects.filter(renewed_from=certificate).count()) == (second.pk, 1)


def test_crash_while_it_is_carried_out_leaves_the_plan_and_the_certificate_as_they_were(
    certificate: Certificate, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(certificate, alice)
    after_deadline(plan)
    with monkeypatch.context() as patched:
        patched.setattr("certs.renewal.planned_revocation.close_alerts", _crash)
        assert revoke_replaced() == 0
    assert (status_of(certificate), PlannedRevocation.objects.get().ended_at) == (Status.GOOD, None)
    alert = OperatorAlert.objects.get(kind="planned_revocation_failed")
    assert certificate.cert_id in alert.message
    assert revoke_replaced() == 1
    alert.refresh_from_db()
    assert alert.closed_at is not None


def _crash(*_args: Any, **_kwargs: Any) -> None:
    raise RuntimeError("crash")


def test_sweeper_carries_it_out(certificate: Certificate, alice: Any) -> None:
    after_deadline(planned(certificate, alice))
    sweep()
    assert status_of(certificate) == Status.REVOCATION_PENDING


def test_plan_that_is_being_withdrawn_is_not_carried_out(certificate: Certificate, alice: Any) -> None:
    if connection.vendor == "sqlite":
        return  # one writer at a time: nobody waits behind a row
    after_deadline(planned(certificate, alice))
    done: list[int] = []
    with transaction.atomic():
        withdraw(certificate, authority=by(alice))
        thread = in_thread(lambda: done.append(revoke_replaced()))
        thread.join(30)
    assert (done, revoke_replaced(), status_of(certificate)) == ([0], 0, Status.GOOD)


def test_twins_on_the_key_go_too_except_those_that_were_spared(
    certificate: Certificate, twin_portal: Requester, alice: Any, make_spec: MakeSpec
) -> None:
    twin = renewed(certificate)
    plan = planned(certificate, alice, spared=[twin.cert_id])
    assert plan.replacement.renewed_from == twin  # the last of the lineage is replaced
    after_deadline(plan)
    revoke_replaced()
    assert (status_of(certificate), status_of(twin)) == (Status.REVOCATION_PENDING, Status.GOOD)


def test_key_of_a_server_needs_a_csr_and_is_not_blocked_by_the_word_of_its_owner(twin_portal: Requester, alice: Any) -> None:
    """A CSR can be copied."""
    certificate = issued(brought("own.example.com"), twin_portal)
    with pytest.raises(PolicyRefused, match="its owner's own"):
        planned(certificate, alice)
    plan = planned(certificate, alice, csr=csr_of("own.example.com"))
    walk([plan.replacement_id])
    assert revoke_replaced() == 1
    assert PublicKey.objects.get(pk=certificate.spki_sha256).blocked_at is None
    assert OperatorAlert.objects.filter(kind="key_claimed").count() == 1


def test_key_is_blocked_where_an_officer_or_a_proof_says_so(twin_portal: Requester, alice: Any) -> None:
    alice.groups.add(Group.objects.get(name="security officer"))
    certificate = issued(brought("own.example.com"), twin_portal)
    plan = planned(certificate, alice, csr=csr_of("own.example.com"))
    after_deadline(plan)
    assert revoke_replaced() == 1
    assert PublicKey.objects.get(pk=certificate.spki_sha256).blocked_at is not None


def test_requester_who_left_does_not_stop_the_revocation(certificate: Certificate, twin_portal: Requester, alice: Any) -> None:
    plan = planned(certificate, alice)
    twin_portal.team.members.remove(alice)
    after_deadline(plan)
    assert (revoke_replaced(), status_of(certificate)) == (1, Status.REVOCATION_PENDING)


def test_what_cannot_be_planned_is_refused(certificate: Certificate, alice: Any) -> None:
    with pytest.raises(InputRefused):
        planned(certificate, alice, hours=48)
    with pytest.raises(CSRRefused):
        planned(certificate, alice, comment="token hvs.CAESIJx0bSe7Y2tVb1lRk3n9Zz")
    with pytest.raises(NotFound):
        planned(certificate, person("dora"))
    auditor = person("audra", "auditor")
    with pytest.raises(NotPermitted):
        planned(certificate, auditor)
    renewed_with_new_key = planned(certificate, alice)
    walk([renewed_with_new_key.replacement_id])
    withdraw(certificate, authority=by(alice))
    with pytest.raises(Conflict, match="replaced with a new key already"):
        planned(certificate, alice)
