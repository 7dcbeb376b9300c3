"""Calls that share a batch: each caller gets its own result or its own exception, whatever becomes of the others'."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import OperationalError, connection, connections

from certs import fault_points
from certs.access.permissions import Authority
from certs.bulk import dispatch
from certs.bulk.chunk import make_chunk
from certs.bulk.submit import submit_order
from certs.enums import RequestState as S
from certs.issuance import synchronous
from certs.issuance.synchronous import Call, issue_batch, issue_now
from certs.models import Attempt, Certificate, CertificateRequest
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from certs.x509.csr.build import build_csr
from db.sql import fetch
from keys.spec import spki_der
from tests.certs.bulk.orders import drafted
from tests.portal.broker import messages
from tests.portal.fixtures import Portal
from tests.twins.ca import TwinCAClient

MakeSpec = Callable[..., CertificateSpec]
on_both = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def brought(make_spec: MakeSpec, name: str) -> CertificateSpec:
    key = ec.generate_private_key(ec.SECP256R1())
    spec, csr = make_spec(name), build_csr(key, common_name=name, dns_names=(name,), ip_addresses=())
    return CertificateSpec(
        spec.common_name, spec.dns_names, (), "ec-p256", spec.validity_days, spec.profile, csr_der=csr, spki_der=spki_der(key.public_key())
    )


def test_batch_that_breaks_is_told_to_its_callers_and_the_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each caller gets its own result or exception, whatever becomes of the others'."""

    def issued(calls: Sequence[Any]) -> list[Any]:
        if "breaks" in calls:
            raise OSError("this batch broke")
        if "stops" in calls:
            raise SystemExit
        return [ValueError(call) if call == "bad" else call.upper() for call in calls]

    monkeypatch.setattr(synchronous, "issue_batch", issued)
    thread: Any = synchronous.IssuingThread()
    with pytest.raises(OSError, match="this batch broke"):
        thread.submit("breaks")
    with pytest.raises(SystemExit):
        thread.submit("stops")
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(thread.submit, "bad" if n % 5 == 0 else f"n{n}") for n in range(100)]
        for n, future in enumerate(futures):
            assert str(future.exception(30) or future.result(30)) == ("bad" if n % 5 == 0 else f"N{n}")


def test_callers_who_come_again_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def issued(calls: Sequence[Any]) -> list[Any]:
        sizes.append(len(calls))
        time.sleep(0.02)
        return list(calls)

    monkeypatch.setattr(synchronous, "issue_batch", issued)
    thread: Any = synchronous.IssuingThread()
    with ThreadPoolExecutor(4) as pool:
        for client in [pool.submit(lambda: [thread.submit(n) for n in range(20)]) for _ in range(4)]:
            client.result(30)
    assert sum(sizes) == 80
    assert len(sizes) < 60


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite plans nothing anew")
def test_thread_has_its_statements_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On each connection that it has had for a batch."""

    def issued(calls: Sequence[Any]) -> list[Any]:
        if calls == ["another connection"]:
            connection.close()
        modes = fetch("SHOW plan_cache_mode")[0]
        if calls == ["last"]:
            connection.close()
        return list(modes)

    monkeypatch.setattr(synchronous, "issue_batch", issued)
    thread: Any = synchronous.IssuingThread()
    told = [thread.submit(call) for call in ("first", "second", "another connection", "next", "last")]
    assert told == ["auto", "force_generic_plan", "auto", "force_generic_plan", "force_generic_plan"]


@pytest.fixture
def observed() -> Iterator[Callable[[fault_points.Observer], None]]:
    yield fault_points.observe
    fault_points.observe(None)


class TestCalls:
    pytestmark = on_both

    def test_same_key_at_once_is_one_request_and_another_content_is_refused(self, portal: Portal, make_spec: MakeSpec) -> None:
        first, second = brought(make_spec, "a.example.com"), brought(make_spec, "b.example.com")
        asking = portal.requester(idempotency_scope="token:1", idempotency_key="k")
        other = portal.requester(idempotency_scope="token:2", idempotency_key="k")
        together = threading.Barrier(6)

        def call(spec: CertificateSpec, requester: Requester) -> Any:
            try:
                together.wait(20)
                return issue_now(Call(spec, requester)).public_id
            except Exception as exc:  # noqa: BLE001 - is looked at below
                return exc
            finally:
                connections.close_all()

        calls = [(first, asking), (first, asking), (first, asking), (first, asking), (second, other), (second, other)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda one: call(*one), calls))
        assert len(set(answers[:4])) == len(set(answers[4:])) == 1
        assert (CertificateRequest.objects.count(), Certificate.objects.count()) == (2, 2)
        assert "used for another request" in str(call_error(second, asking))

    def test_caller_hears_where_a_request_stands_that_is_on_record_though_its_batch_broke(
        self, portal: Portal, make_spec: MakeSpec, observed: Callable[[fault_points.Observer], None]
    ) -> None:
        def broken(step: str, beat: str) -> None:
            if (step, beat) == ("submit", "executed"):
                raise ConnectionError("the database went away")

        observed(broken)
        request = issue_now(Call(brought(make_spec, "a.example.com"), portal.requester()))
        request.refresh_from_db()
        assert (request.state, Attempt.objects.get().closed_at) == (S.CSR_CREATED, None)  # the sweeper takes it from here

    def test_what_a_bulk_chunk_missed_stays_in_the_bulk_lane(
        self, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, settings: Any
    ) -> None:
        settings.CELERY_TASK_ALWAYS_EAGER = False
        order = submit_order(drafted([brought(make_spec, "a.example.com")], twin_portal), authority=Authority(twin_portal.actor))
        dispatch.dispatch()
        twin_ca.reachable = False
        before = waiting_for_the_ca()
        ids = make_chunk(order.chunks.get().pk)
        assert CertificateRequest.objects.get(pk__in=ids).state == S.CSR_CREATED
        assert waiting_for_the_ca() == before


class TestLostConnection:
    pytestmark = [
        pytest.mark.django_db(transaction=True),
        pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose"),
    ]

    @pytest.fixture
    def lost_at_commit(self) -> Iterator[None]:
        """The first transaction that makes a request loses its connection at its end."""
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE SEQUENCE commits; "
                "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF nextval('commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5); END IF; RETURN NULL; END $$; "
                "CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON certs_certificaterequest "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose()"
            )
        yield
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER lose ON certs_certificaterequest; DROP FUNCTION lose; DROP SEQUENCE commits")

    @pytest.mark.usefixtures("lost_at_commit")
    def test_calls_whose_commit_was_not_answered_are_not_begun_again(self, portal: Portal, make_spec: MakeSpec) -> None:
        """They may be on record: begun again, each would have two certificates."""
        calls = [Call(brought(make_spec, f"{name}.example.com"), portal.requester()) for name in "ab"]
        assert [type(result) for result in issue_batch(calls)] == [OperationalError, OperationalError]
        assert not CertificateRequest.objects.exists()
        assert [result.state for result in issue_batch(calls) if isinstance(result, CertificateRequest)] == [S.COMPLETED] * 2


def call_error(spec: CertificateSpec, requester: Requester) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its text is what matters
        issue_now(Call(spec, requester))
    return caught.value


def waiting_for_the_ca() -> int:
    return messages().get("ca", 0)
