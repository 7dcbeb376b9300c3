"""A remote CA that hangs delays no other CA, and every request that waits says why."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings as django_settings

from certs import tasks
from certs.access.api_tokens import create_token
from certs.ca.base import Issued, Order, Pending
from certs.ca.registry import get_ca_client
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.issuance.advance import Unavailable
from certs.models import Attempt, CertificateRequest, Issuer
from certs.requests.submit import Requester, submit_many
from certs.requests.turn import claim_ca
from db.clock import database_now
from pkiportal.celery import app
from tests.cast import person
from tests.certs import steps
from tests.certs.api.test_issue import Api, pem_csr
from tests.certs.issuance.test_recovery import waiting
from tests.certs.issuance.test_schedules import walk
from tests.certs.requests.test_outcomes import MakeSpec, ask
from tests.faults.wire import Fault as WireFault
from tests.faults.wire import wired
from tests.portal.fixtures import SYSTEM, Portal
from tests.twins.ca import Fault, TwinCAClient
from tests.twins.keys import TwinKeyBackend

pytestmark = pytest.mark.django_db(transaction=True)
COMPOSE = Path(__file__).resolve().parents[3] / "docker-compose.yml"


@pytest.fixture(autouse=True)
def empty_broker() -> Iterator[None]:
    app.control.purge()
    yield
    app.control.purge()


def ready(requester: Requester, make_spec: MakeSpec, *names: str, issuer: str | None = None) -> list[int]:
    requests = submit_many([make_spec(f"{name}.example.com") for name in names], requester=requester, issuer=issuer)
    ids = [request.pk for request in requests]
    for step in (steps.check_policy, steps.ensure_keys, steps.create_csrs):
        step(ids)
    app.control.purge()
    return ids


def errors(ids: list[int]) -> list[str]:
    return list(CertificateRequest.objects.filter(pk__in=ids).order_by("pk").values_list("error", flat=True))


def test_every_queue_is_served_by_a_worker_of_the_compose_file() -> None:
    """F6: a queue that nobody serves holds its requests without a word."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    served: set[str] = set()
    for service in services.values():
        command = service.get("command") or []
        words = shlex.split(command) if isinstance(command, str) else command
        if "worker" in words:
            served |= set(words[words.index("-Q") + 1].split(","))
    assert served == {queue.name for queue in django_settings.CELERY_TASK_QUEUES}


def test_workers_of_the_own_ca_ask_no_remote_ca(portal: Portal, make_spec: MakeSpec, settings: Any) -> None:
    """F6: one remote CA that hung made orders to the own CA take 58 s."""
    twin = TwinCAClient("Twin-CA")
    settings.CA_CLIENTS = settings.CA_CLIENTS | {"Twin-CA": {"CLIENT": "tests.twins.ca.TwinCAClient"}}
    Issuer.objects.create(name="Twin-CA", slug="twin-ca", alias="Twin-CA", trust_anchor_der=twin.root_der, created_at=database_now())
    own = ready(portal.requester(), make_spec, "own")
    remote = ready(portal.requester(), make_spec, "remote", issuer="Twin-CA")
    tasks.submit_to_ca.apply(args=[[*remote, *own]], kwargs={"complete": True})
    states = dict(CertificateRequest.objects.values_list("pk", "state"))
    assert (states[own[0]], states[remote[0]]) == (S.COMPLETED, S.CSR_CREATED)
    client = get_ca_client("Twin-CA")
    assert isinstance(client, TwinCAClient)
    assert (client.book.calls, waiting("ca-remote")) == (0, 1)


@pytest.mark.parametrize("task", ["sweep_ca", "process_revocations", "reconcile_cas"])
def test_other_work_at_remote_cas_is_handed_over_too(task: str, twin_ca: TwinCAClient) -> None:
    """F6: a sweep, a revocation or the nightly comparison waited in the queue that issues."""
    twin_ca.reachable = False
    getattr(tasks, task)()
    assert waiting("ca-remote") == 1


def test_two_sweeps_at_one_ca_are_one(twin_ca: TwinCAClient) -> None:
    issuer = Issuer.objects.get()
    assert claim_ca(issuer.pk) == issuer
    assert tasks.sweep_remote_ca(issuer.pk) == {}
    Issuer.objects.update(sweep_lease_until=database_now() - timedelta(seconds=1))  # its worker died
    assert set(tasks.sweep_remote_ca(issuer.pk)) == {name for name, _ in tasks.SWEEP_PARTS}
    assert Issuer.objects.get().sweep_lease_until is None


def running(ids: list[int]) -> None:
    """Each a batch of its own that is with the CA."""
    for pk in ids:
        now = database_now()
        Attempt.objects.create(request_id=pk, step="submit", number=1, lease_until=now + timedelta(seconds=40), opened_at=now)


def test_ca_that_hangs_takes_no_more_workers_than_its_share(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """F6: 161 requests stood without a reason."""
    first, second, third, fourth = ready(twin_portal, make_spec, "a", "b", "c", "d")
    running([first, second])
    tasks.submit_to_remote_ca.apply(args=[[third]])
    tasks.submit_to_remote_ca.apply(args=[[fourth]])
    assert twin_ca.book.calls == 0
    assert errors([third, fourth]) == ["Waits for its turn at Twin-CA: 2 batches are with that CA, and it has not answered them yet."] * 2
    Attempt.objects.filter(request=first).update(lease_until=database_now())  # its worker died
    app.control.purge()
    tasks.submit_to_remote_ca.apply(args=[[first]])
    assert waiting("ca-remote") == 1  # the third and the fourth go on, in one batch
    tasks.submit_to_remote_ca.apply(args=[[third, fourth]])
    assert errors([third, fourth]) == ["", ""]
    assert CertificateRequest.objects.filter(state=S.COMPLETED).count() == 3


def test_request_says_why_it_waits_from_the_first_failed_try_on(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    """Issue item 9: the reason came with the hold, after all retries."""
    ids = ready(twin_portal, make_spec, "down")
    twin_ca.faults = [Fault.DOWN]
    with pytest.raises(Unavailable):
        steps.submit_to_ca(ids)
    assert errors(ids) == ["Twin-CA has not issued it: 503 Service Unavailable. It is tried again."]
    walk(ids)
    assert (errors(ids), CertificateRequest.objects.get().state) == ([""], S.COMPLETED)


def test_request_that_waits_for_its_key_says_so_from_the_first_failed_try_on(
    twin_portal: Requester, twin_keys: TwinKeyBackend, make_spec: MakeSpec
) -> None:
    request = ask(twin_portal, make_spec())
    twin_keys.reachable = False
    walk([request.pk])
    assert errors([request.pk])[0].startswith("The key backend cannot be used now: ")
    twin_keys.reachable = True
    walk([request.pk])
    assert (errors([request.pk]), CertificateRequest.objects.get().state) == ([""], S.COMPLETED)


def test_request_whose_queue_nobody_serves_says_so(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    settings.PKI_SWEEP_AFTER_SECONDS = 0
    request = ask(twin_portal, make_spec())
    recovery.restart_stalled()
    assert errors([request.pk])[0].startswith("Waits for a worker of the queue policy")
    walk([request.pk])
    assert (errors([request.pk]), CertificateRequest.objects.get().state) == ([""], S.COMPLETED)


def test_orders_to_a_full_remote_queue_are_not_piled_up(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    settings.PKI_SWEEP_QUEUE_MOST = 2
    ids = ready(twin_portal, make_spec, "a", "b", "c")
    for _ in range(3):
        for pk in ids:
            tasks.submit_to_ca.apply(args=[[pk]])
    assert waiting("ca-remote") == 2


@pytest.fixture
def upstream(portal: Portal, live_server: Any, settings: Any) -> Callable[[str], dict[str, Any]]:
    """This portal as its own upstream CA: the entry of CA_CLIENTS that reaches it at `url`."""
    settings.PKI_CA_API_INLINE = True
    _, secret = create_token(user=portal.alice, team=portal.team, name="other portal", scopes=["certificates:issue"], actor=SYSTEM)
    return lambda url: {"CLIENT": "certs.ca.rest.RestCAClient", "OPTIONS": {"url": url, "token": secret}}


def test_batch_at_a_ca_that_hangs_ends_within_one_time_out(
    upstream: Callable[[str], dict[str, Any]],
    portal: Portal,
    live_server: Any,
    make_spec: MakeSpec,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F6: 16 orders in parts of 4 took four time-outs, longer than their lease."""
    monkeypatch.setattr("certs.ca.rest.READ_TIMEOUT", 1.0)
    with wired(live_server.url) as wire:
        settings.CA_CLIENTS = settings.CA_CLIENTS | {"Upstream": upstream(wire.url)}
        Issuer.objects.create(
            name="Upstream",
            slug="upstream",
            alias="Upstream",
            trust_anchor_der=get_ca_client("Upstream").chain()[-1],
            created_at=database_now(),
        )
        ids = ready(portal.requester(), make_spec, *(f"h{n}" for n in range(12)), issuer="Upstream")
        wire.decide = lambda method, _path: WireFault(hold=30) if method == "POST" else None
        began = time.monotonic()
        with pytest.raises(Unavailable):
            steps.submit_to_ca(ids)
        assert time.monotonic() - began < 20  # the CA answers after 30
        assert wire.count("POST", "/issue") == 4
        assert all(error.startswith("Upstream has not issued it") for error in errors(ids))
        outcomes = Attempt.objects.filter(step="submit").order_by("pk").values_list("outcome", flat=True)
        assert list(outcomes) == ["unknown"] * 4 + ["not_sent"] * 8


def test_order_for_a_remote_ca_over_the_ca_endpoint_is_left_to_the_workers_of_its_queue(
    twin_portal: Requester, twin_ca: TwinCAClient, settings: Any
) -> None:
    """F6: `ca-api` asked it inside the request, beside the workers and beyond PKI_CA_PARALLEL."""
    settings.PKI_CA_API_INLINE, settings.PKI_CA_API_WAIT_SECONDS = True, 0
    user = person("machine", team=twin_portal.team)
    scopes = ["certificates:issue"]
    _, secret = create_token(user=user, team=twin_portal.team, name="m", scopes=scopes, actor=SYSTEM)
    status, answer = Api(secret).post("/certificates/issue", {"csr": pem_csr("remote.example.com")})
    assert (status, twin_ca.book.calls) == (202, 0)
    request = CertificateRequest.objects.get()
    assert answer["order"].endswith(request.public_id)
    assert waiting("ca") == 1
    walk([request.pk])
    assert CertificateRequest.objects.get().state == S.COMPLETED


def test_lease_is_renewed_while_a_ca_is_slow_to_look_up(
    twin_portal: Requester,
    twin_ca: TwinCAClient,
    make_spec: MakeSpec,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """K3: attempts were lost to the sweeper while their worker asked order by order."""
    ids = ready(twin_portal, make_spec, "a", "b", "c")
    twin_ca.faults = [Fault.ANSWER_LOST]
    with pytest.raises(Unavailable):
        steps.submit_to_ca(ids)
    settings.PKI_ATTEMPT_LEASE_SECONDS = 1
    left: list[timedelta] = []
    find = twin_ca.find

    def slow(order: Order) -> Issued | Pending | None:
        time.sleep(0.6)
        ends = Attempt.objects.filter(closed_at__isnull=True).values_list("lease_until", flat=True)
        left.append(min(ends) - database_now())
        return find(order)

    monkeypatch.setattr(twin_ca, "find", slow)
    steps.submit_to_ca(ids, complete=True)
    assert len(left) == 3
    assert min(left) > timedelta()
    assert CertificateRequest.objects.filter(state=S.COMPLETED).count() == 3
    assert not Attempt.objects.filter(outcome="lost").exists()
