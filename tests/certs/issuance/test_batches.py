"""A batch of requests: what happens to one of them happens to it alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from audit.log import UnitOfWork
from certs import fault_points
from certs.ca.base import Lookup, Order, Outcome
from certs.ca.registry import get_ca_client
from certs.enums import AlertKind
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import advance, reserve
from certs.issuance.attempts import Lease
from certs.models import Attempt, Certificate, CertificateRequest, Issuer, OperatorAlert, OutgoingMail, RequestCSR
from certs.requests.states import lock_ready
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.errors import KeyMismatch
from keys.models import Key
from tests.certs.books import assert_balanced
from tests.portal.threads import in_thread
from tests.twins.ca import TwinCAClient

pytestmark = pytest.mark.django_db(transaction=True)
MakeSpec = Callable[..., CertificateSpec]
Observe = Callable[[fault_points.Observer], None]


@pytest.fixture
def observed() -> Iterator[Observe]:
    yield fault_points.observe
    fault_points.observe(None)


class SlowCA(TwinCAClient):
    """Takes its time for each order."""

    seconds = 0.0

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.capabilities = replace(self.capabilities, batch_size=1)

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        time.sleep(self.seconds)
        return super().issue_many(orders)


class WatchfulCA(TwinCAClient):
    """Notes whether the leases of its orders run when they arrive."""

    leased: tuple[bool, ...] = ()

    def issue_many(self, orders: Sequence[Order]) -> list[Outcome]:
        rows = Attempt.objects.filter(request__public_id__in=[one.order_ref for one in orders], closed_at=None)
        self.leased += tuple(one.lease_until > database_now() for one in rows)
        return super().issue_many(orders)


def asked(requester: Requester, specs: Sequence[CertificateSpec], *, issuer: str | None = None) -> list[int]:
    return [request.pk for request in submit_many(specs, requester=requester, issuer=issuer)]


def states(ids: Sequence[int]) -> list[str]:
    return list(CertificateRequest.objects.filter(pk__in=ids).order_by("pk").values_list("state", flat=True))


def further_cas(settings: Any, **clients: str) -> list[Any]:
    """CAs by name and class beside the twin; the twin's own client is made anew."""
    more = {f"{name}-CA": {"CLIENT": f"{__name__}.{client}"} for name, client in clients.items()}
    settings.CA_CLIENTS = {**settings.CA_CLIENTS, **more}
    made = []
    for name in more:
        ca = get_ca_client(name)
        assert isinstance(ca, TwinCAClient)
        Issuer.objects.create(name=name, slug=name.lower(), alias=name, trust_anchor_der=ca.root_der, created_at=database_now())
        made.append(ca)
    return made


def test_result_in_conflict_waits_alone_and_the_others_go_on_together(
    twin_portal: Requester, make_spec: MakeSpec, observed: Observe
) -> None:
    """Not one by one to the end: their leases would run out meanwhile."""
    ids = asked(twin_portal, [make_spec(f"{n}.example.com") for n in range(5)])
    acts: Counter[tuple[str, str]] = Counter()

    def conflicting(step: str, phase: str) -> None:
        acts[step, phase] += 1
        if (step, phase) == ("csr", "executed"):
            request = CertificateRequest.objects.get(pk=ids[2])
            RequestCSR.objects.create(request=request, der=b"", spki_der=b"", spki_sha256=request.spki_sha256, created_at=database_now())

    observed(conflicting)
    advance(ids, until=S.COMPLETED)
    assert states(ids) == [S.COMPLETED, S.COMPLETED, S.KEY_READY, S.COMPLETED, S.COMPLETED]
    assert (acts["csr", "reserved"], acts["submit", "reserved"]) == (1, 1)
    assert Attempt.objects.get(closed_at=None).request_id == ids[2]


def test_result_that_is_refused_here_waits_alone(twin_portal: Requester, make_spec: MakeSpec, observed: Observe) -> None:
    """Whatever refuses it: a conflict in the database is only one reason."""
    ids = asked(twin_portal, [make_spec(f"{n}.example.com") for n in range(3)])

    def replaced(step: str, phase: str) -> None:
        if (step, phase) == ("key", "executed"):
            Key.objects.filter(claimed_for=CertificateRequest.objects.get(pk=ids[1]).public_id).update(spki_sha256="0" * 64)

    observed(replaced)
    advance(ids, until=S.COMPLETED)
    assert states(ids) == [S.COMPLETED, S.APPROVED, S.COMPLETED]
    alert = OperatorAlert.objects.get(kind=AlertKind.RESULT_NOT_RECORDED)
    refused = CertificateRequest.objects.get(pk=ids[1])
    assert alert.message == f"A result of the step key could not be recorded: KeyMismatch. Requests: {refused.public_id}."
    assert OutgoingMail.objects.filter(dedup_key=f"alert:{alert.pk}").exists()


def test_certificate_that_cannot_be_recorded_even_alone_is_an_alert(twin_portal: Requester, make_spec: MakeSpec, observed: Observe) -> None:
    ids = asked(twin_portal, [make_spec(f"{n}.example.com") for n in range(3)])

    def taken(step: str, phase: str) -> None:
        if (step, phase) == ("submit", "executed"):
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE certs_certificate ADD CONSTRAINT only_of_others CHECK (request_id <> {ids[0]})")

    observed(taken)
    try:
        advance(ids, until=S.COMPLETED)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE certs_certificate DROP CONSTRAINT IF EXISTS only_of_others")
    assert states(ids)[1:] == [S.COMPLETED, S.COMPLETED]
    alert = OperatorAlert.objects.get(kind=AlertKind.RESULT_NOT_RECORDED)
    assert alert.message.startswith("A certificate that the CA issued could not be recorded: IntegrityError. Requests: req-")


def test_result_that_no_request_can_record_is_an_error(twin_portal: Requester, make_spec: MakeSpec, observed: Observe) -> None:
    ids = asked(twin_portal, [make_spec("a.example.com")])

    def replaced(step: str, phase: str) -> None:
        if (step, phase) == ("key", "executed"):
            Key.objects.update(spki_sha256="0" * 64)

    observed(replaced)
    with pytest.raises(KeyMismatch):
        advance(ids, until=S.COMPLETED)


def test_request_that_cannot_be_reserved_stops_no_other(twin_portal: Requester, make_spec: MakeSpec) -> None:
    ids = asked(twin_portal, [make_spec(f"{n}.example.com") for n in range(3)])
    advance(ids, until=S.APPROVED)
    CertificateRequest.objects.filter(pk=ids[1]).update(key_type="dsa-512")
    advance(ids, until=S.COMPLETED)
    assert states(ids) == [S.COMPLETED, S.APPROVED, S.COMPLETED]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")
def test_connection_lost_before_the_record_loses_no_certificate(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, observed: Observe
) -> None:
    """Of a CA that cannot be asked later what it signed."""
    twin_ca.capabilities = replace(twin_ca.capabilities, lookup=Lookup.NONE)
    ids = asked(twin_portal, [make_spec("a.example.com")])

    def end(pid: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        connection.close()

    def lost(step: str, phase: str) -> None:
        if (step, phase) == ("submit", "executed"):
            pid = connection.connection.info.backend_pid
            in_thread(lambda: end(pid)).join(30)

    observed(lost)
    advance(ids, until=S.COMPLETED)
    assert states(ids) == [S.COMPLETED]
    assert len(twin_ca.book.signed) == Certificate.objects.count() == 1


def test_act_that_breaks_off_stops_no_other_act(
    twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, settings: Any, observed: Observe
) -> None:
    further_cas(settings, Other="WatchfulCA")
    ids = asked(twin_portal, [make_spec("a.example.com")])
    ids += asked(twin_portal, [make_spec("b.example.com")], issuer="Other-CA")
    broke: list[str] = []

    def breaks(step: str, phase: str) -> None:
        if (step, phase) == ("submit", "executed") and not broke:
            broke.append(step)
            raise ConnectionError("something went away")

    observed(breaks)
    with pytest.raises(ConnectionError):
        advance(ids, until=S.COMPLETED)
    assert states(ids) == [S.CSR_CREATED, S.COMPLETED]


def test_orders_of_one_ca_keep_their_lease_while_another_is_slow(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    """An external call starts only if its time-out is shorter than the remaining lease."""
    slow, watchful = further_cas(settings, Slow="SlowCA", Watchful="WatchfulCA")
    slow.seconds = 0.4
    ids = asked(twin_portal, [make_spec(f"{n}.example.com") for n in range(4)], issuer="Slow-CA")
    ids += asked(twin_portal, [make_spec("z.example.com")], issuer="Watchful-CA")
    advance(ids, until=S.CSR_CREATED)
    settings.PKI_ATTEMPT_LEASE_SECONDS = 1
    advance(ids, until=S.COMPLETED)
    assert watchful.leased == (True,)
    assert set(states(ids)) == {S.COMPLETED}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="on SQLite one transaction writes at a time")
def test_attempt_whose_lease_is_being_renewed_is_not_taken_over(twin_portal: Requester, make_spec: MakeSpec, observed: Observe) -> None:
    (pk,) = asked(twin_portal, [make_spec("a.example.com")])
    now = database_now()
    advance([pk], until=S.APPROVED)
    Attempt.objects.create(request_id=pk, step="key", number=1, lease_until=now, opened_at=now, batch=1)
    with transaction.atomic():
        Attempt.objects.update(lease_until=now + timedelta(seconds=45))
        second = in_thread(lambda: advance([pk], until=S.KEY_READY))
        second.join(0.5)  # it has read the attempt, or waits for it
    second.join(30)
    attempt = Attempt.objects.get()
    assert (attempt.closed_at, attempt.outcome) == (None, "")


def test_result_that_is_recorded_twice_takes_nothing_away(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """The reply to a COMMIT may be lost with its connection: then the results that it stored are recorded once more."""
    ids = asked(twin_portal, [make_spec(f"{n}.example.com") for n in range(2)])
    advance(ids, until=S.APPROVED)
    for source, state in ((S.APPROVED, S.KEY_READY), (S.KEY_READY, S.CSR_CREATED), (S.CSR_CREATED, S.ISSUED)):
        with UnitOfWork() as work:
            (act,) = reserve(work, lock_ready(ids, [source]), until=state, now=database_now())
        act.execute(Lease())
        for _ in range(2):
            with UnitOfWork() as work:
                act.record(work)
    advance(ids, until=S.COMPLETED)
    recovery.settle_unclaimed()
    for request in CertificateRequest.objects.filter(pk__in=ids):
        assert_balanced(request, twin_ca)
    assert set(Certificate.objects.values_list("status", flat=True)) == {Certificate.Status.GOOD}
    assert not any(one.revoked for one in twin_ca.book.signed)
