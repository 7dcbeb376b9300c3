"""Renewals under every crash, stall, lost or late answer, with a revocation, a compromise or a second renewal in between.

The steps are the real ones, on twins of CA and key backend, as in test_schedules. After each schedule: the books balance,
one request renews the certificate, and what is alive at the CA is what the inventory calls good.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.issuance import recovery
from certs.models import Certificate, CertificateRequest
from certs.renewal.plan import KeyOption
from certs.renewal.renew import renew
from certs.requests.lineage import cancel_stopped_renewals
from certs.requests.representation import is_settled
from certs.requests.submit import Requester
from certs.revocation.deliver import process_revocations
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from tests.certs.books import assert_balanced
from tests.certs.issuance.test_schedules import ROUNDS, let_leases_end, walk
from tests.certs.lanes import Lane, conduct, dismiss
from tests.certs.life import PORTAL, issued
from tests.twins.ca import Fault, TwinCAClient

BOUNDARIES = {KeyOption.KEEP: 6, KeyOption.NEW: 9}  # three in each of the steps that reach outside
HOWS = ("crash", "stall, lease runs", "stall, lease over")
REASONS = {"revoke": R.CESSATION_OF_OPERATION, "compromise": R.KEY_COMPROMISE, "hold": R.CERTIFICATE_HOLD, "supersede": R.SUPERSEDED}


@dataclass(frozen=True)
class Schedule:
    """Worker A stops at its boundary `a`; then something happens to the certificate that is being renewed; worker B goes on."""

    key_option: KeyOption
    fault: Fault | None
    a: int
    how: str
    between: str  # a reason of REASONS, or: renew
    swept: bool  # whether the open renewal is cancelled at once, or only found by the sweeper at the end


def schedules() -> Iterator[Schedule]:
    for (key_option, boundaries), how in itertools.product(BOUNDARIES.items(), HOWS):
        for a in range(boundaries):
            for between in (*REASONS, "renew") if how == "stall, lease over" else ("revoke", "compromise"):
                yield Schedule(key_option, None, a, how, between, swept=True)
            for between, fault in itertools.product(("revoke", "compromise"), (None, Fault.ANSWER_LOST, Fault.ANSWER_LATE)):
                if fault is None or how != "stall, lease runs":
                    yield Schedule(key_option, fault, a, how, between, swept=False)


ALL = list(schedules())
PARTS = 6


def interfere(certificate: Certificate, schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    if schedule.between == "renew":
        assert renew(certificate, authority=PORTAL, channel="command", key_option=schedule.key_option, begin=False).already
        return
    with monkeypatch.context() as patched:
        if not schedule.swept:
            patched.setattr("certs.revocation.request.cancel_stopped_renewals", lambda _certificate: 0)
        revoke(certificate, reason=REASONS[schedule.between], authority=PORTAL, begin=False)


def run(schedule: Schedule, certificate: Certificate, lanes: tuple[Lane, Lane], ca: TwinCAClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = lanes
    request = renew(certificate, authority=PORTAL, channel="command", key_option=schedule.key_option, begin=False).request
    ids = [request.pk]
    ca.faults = [schedule.fault] if schedule.fault else []
    where = first.start(lambda: walk(ids))
    for _ in range(schedule.a):
        where = first.go_on() if where else None
    if schedule.how == "crash" and first.at:
        first.crash()
    interfere(certificate, schedule, monkeypatch)
    if schedule.how != "stall, lease runs":
        let_leases_end()
    second.start(lambda: walk(ids))
    second.finish()
    first.finish()
    ca.faults = []
    settle(request)
    assert_balanced(request, ca)
    assert_one_truth(certificate, request, schedule, ca)


def settle(request: CertificateRequest) -> None:
    for _ in range(ROUNDS):
        request.refresh_from_db()
        if not is_settled(request):
            let_leases_end()
            walk([request.pk])
        cleared = recovery.settle_unclaimed() + recovery.clear_after_the_end() + cancel_stopped_renewals() + process_revocations()
        request.refresh_from_db()
        if not cleared and is_settled(request):
            return
    raise AssertionError(f"stands at {request.state}")


def assert_one_truth(certificate: Certificate, request: CertificateRequest, schedule: Schedule, ca: TwinCAClient) -> None:
    """What is alive at the CA is what the inventory calls good, and nothing good follows what was revoked before it was recorded."""
    certificate.refresh_from_db()
    following = list(Certificate.objects.filter(renewed_from=certificate))
    lineage = [certificate, *following]
    references = {certificate.request.public_id, request.public_id}
    alive = {f"{one.serial:x}" for one in ca.book.signed if one.order_ref in references and not one.revoked}
    assert alive == {one.serial_number for one in lineage if one.status == Certificate.Status.GOOD}
    assert CertificateRequest.objects.filter(renewed_from=certificate).count() == 1
    if schedule.between in ("renew", "supersede"):
        assert (request.state, [one.status for one in following]) == (S.COMPLETED, [Certificate.Status.GOOD])
        return
    assert certificate.status == Certificate.Status.REVOKED
    for one in following:
        recorded_first = one.issued_at <= certificate.revocation.requested_at
        same_key = one.spki_sha256 == certificate.spki_sha256
        may_stand = recorded_first and not (schedule.between == "compromise" and same_key)
        assert may_stand or one.status == Certificate.Status.REVOKED, one.cert_id


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.django_db(transaction=True)
def test_renewal_schedule_ends_with_one_truth(
    part: int,
    twin_portal: Requester,
    twin_ca: TwinCAClient,
    make_spec: Callable[..., CertificateSpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conduct()
    lanes = (Lane("worker A"), Lane("worker B"))
    try:
        for number, schedule in enumerate(ALL[part::PARTS]):
            certificate = issued(make_spec(f"r{part}-{number}.example.com"), twin_portal)
            try:
                run(schedule, certificate, lanes, twin_ca, monkeypatch)
            except BaseException as exc:
                raise AssertionError(f"this schedule fails: {schedule}: {exc!r}") from exc
    finally:
        for lane in lanes:
            lane.close()
        dismiss()


def test_schedules_are_many() -> None:
    assert len(ALL) == len(set(ALL)) == (5 + 2 * 2 + 3 * 2 + 2 * 4) * sum(BOUNDARIES.values())
