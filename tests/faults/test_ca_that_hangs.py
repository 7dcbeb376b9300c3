"""F6: a CA that hangs holds up its own requests only, and those say why."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hvac
import pytest

from certs import tasks
from certs.ca.registry import get_ca_client
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.models import Certificate, CertificateRequest, Issuer
from certs.requests.representation import wait
from certs.requests.submit import Requester, submit, submit_many
from certs.requests.waiting_reasons import waiting_reasons
from certs.spec import CertificateSpec
from db.clock import database_now
from pkiportal.celery import app
from tests.deploy.compose import compose
from tests.faults.processes import Worker, environment
from tests.faults.test_bulk_faults import requester
from tests.faults.wire import Fault, Wire, wired
from tests.portal.elsewhere import pki_engine

__all__ = ["requester"]  # a fixture
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long_fault]

HANGS = float(os.environ.get("PKI_FAULT_HANG", "80"))  # seconds
WAITING, ROLES = 60, ("worker-keys", "worker-ca", "worker-ca-remote", "worker")


def spec(name: str) -> CertificateSpec:
    return CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server")


@pytest.fixture
def upstream(
    requester: Requester,
    settings: Any,
    vault_client: hvac.Client,
    vault_access: Any,
    vault_mount: Callable[[str], str],
) -> Iterator[Wire]:
    """A CA behind a proxy, known here and to the workers (PKI_TEST_UPSTREAM)."""
    settings.PKI_ATTEMPT_LEASE_SECONDS = 45
    engine = pki_engine(vault_client, vault_access, vault_mount("pki"))
    with wired(vault_access.address, ca_file=engine["ca_cert"]) as wire, pytest.MonkeyPatch.context() as patch:
        options = {"url": wire.url, **engine}
        patch.setenv("PKI_TEST_UPSTREAM", json.dumps(options))
        client = {"CLIENT": "certs.ca.vault_pki.VaultPKIClient", "OPTIONS": options}
        settings.CA_CLIENTS = settings.CA_CLIENTS | {"Upstream": client}
        Issuer.objects.create(
            name="Upstream",
            slug="upstream",
            alias="Upstream",
            trust_anchor_der=get_ca_client("Upstream").chain()[-1],
            created_at=database_now(),
        )
        yield wire


@pytest.fixture
def workers(upstream: Wire, tmp_path: Path) -> Iterator[list[Worker]]:
    """Those of the compose file that issue, with its queues and numbers of processes."""
    app.control.purge()
    env = environment(DJANGO_SETTINGS_MODULE="tests.faults.upstream_settings")
    services = compose()["services"]
    with ExitStack() as stack:
        started = []
        for role in ROLES:
            command = services[role]["command"]
            queues = command[command.index("-Q") + 1].split(",")
            processes = int(command[command.index("-c") + 1])
            worker = Worker(tmp_path / f"{role}.log", env, processes=processes, queues=queues)
            started.append(stack.enter_context(worker))
        yield started


def beat_once() -> None:
    """What beat does every few seconds."""
    recovery.restart_stalled()
    tasks.sweep_ca.apply_async(retry=False)


def without_reason() -> list[str]:
    rows = CertificateRequest.objects.exclude(state=S.COMPLETED).select_related("issuer")
    found = list(rows)
    return [f"{row.common_name} {row.state}" for row in found if not waiting_reasons([row])[row.pk]]


def test_ca_that_hangs_delays_no_other_ca_and_its_requests_say_why(
    requester: Requester,
    upstream: Wire,
    workers: list[Worker],
) -> None:
    """F6: orders to the own CA took 58 s, and 161 requests stood without a reason."""
    assert wait(submit(spec("warm.example.com"), requester=requester), seconds=60).state == S.COMPLETED
    upstream.released = threading.Event()
    upstream.decide = lambda _method, _path: Fault(hold=HANGS)
    began = time.monotonic()
    remote = [spec(f"r{number}.example.com") for number in range(WAITING)]
    for first in range(0, WAITING, 5):
        submit_many(remote[first : first + 5], requester=requester, issuer="Upstream")
    at_ca = CertificateRequest.objects.filter(issuer__name="Upstream", state=S.CSR_CREATED)
    while at_ca.count() < WAITING:  # so that what is measured waits for no keys but its own
        assert time.monotonic() < began + 30
        time.sleep(0.2)
    times: list[float] = []
    while time.monotonic() < began + HANGS:
        asked = time.monotonic()
        mine = submit(spec(f"own{len(times)}.example.com"), requester=requester)
        assert wait(mine, seconds=20).state == S.COMPLETED
        times.append(time.monotonic() - asked)
        beat_once()
        time.sleep(4)
        if time.monotonic() > began + 15:  # keys for all are made by then
            assert without_reason() == []
    assert sorted(times)[len(times) // 2] < 1.5
    assert max(times) < 3, times
    assert not Certificate.objects.filter(issuer__name="Upstream").exists()

    upstream.decide = lambda _method, _path: None
    upstream.released.set()
    deadline = time.monotonic() + 120
    while CertificateRequest.objects.exclude(state=S.COMPLETED).exists():
        left = CertificateRequest.objects.exclude(state=S.COMPLETED)
        assert time.monotonic() < deadline, list(left.values_list("state", "error")[:5])
        beat_once()
        time.sleep(3)
    issued = Certificate.objects.filter(issuer__name="Upstream")
    assert issued.count() == issued.values("request").distinct().count() == WAITING
