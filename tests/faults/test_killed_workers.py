"""`kill -9` of real workers against a real Vault and PostgreSQL while certificates are made: every book balances afterwards (F1, F21)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from audit.log import Actor
from audit.models import AuditEvent
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from audit.verification.verify import verify
from certs.ca.local.setup import ensure_own_ca
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.models import Attempt, Certificate, CertificateRequest, Domain, IssuanceIntent, Team
from certs.requests.submit import Requester, submit_many
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import Key
from keys.spec import KeySpec
from pkiportal.celery import app
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.faults.processes import Worker, environment
from tests.portal.fixtures import assert_inventory_is_sound

pytestmark = pytest.mark.django_db(transaction=True)

KILLS, CHUNK = 8, 15
ORDERED = KILLS * CHUNK
SYSTEM = Actor("system", "test")


@pytest.fixture
def mount(vault_mount: Callable[[str], str]) -> str:
    return vault_mount("transit")


@pytest.fixture
def requester(settings: Any, vault_access: Any, mount: str, tmp_path: Path) -> Requester:
    settings.AUDIT_HOME = tmp_path  # each test seals a tree of its own
    vault = {"url": vault_access.address, "ca_cert": str(vault_access.ca_file), "token": vault_access.token, "mount": mount}
    settings.KEY_BACKENDS = {**settings.KEY_BACKENDS, "vault": {"BACKEND": "keys.backends.vault.VaultKeyBackend", "OPTIONS": vault}}
    settings.PKI_LEAF_KEY_BACKEND, settings.PKI_CA_KEY_BACKEND = "vault", "vault"
    settings.PKI_ATTEMPT_LEASE_SECONDS, settings.PKI_SWEEP_AFTER_SECONDS = 5, 1
    ensure_sealing_key()
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    ensure_own_ca(name="Internal-CA-Prod", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    return Requester(actor=SYSTEM, team=team, channel="portal")


@pytest.fixture
def worker(tmp_path: Path, mount: str) -> Iterator[Worker]:
    app.control.purge()
    env = environment(PKI_TEST_VAULT_MOUNT=mount, PKI_LEAF_KEY_BACKEND="vault", PKI_ATTEMPT_LEASE_SECONDS="5", PKI_SWEEP_AFTER_SECONDS="1")
    with Worker(tmp_path / "worker.log", env) as running:
        yield running


def test_killed_workers_leave_exactly_what_was_ordered(requester: Requester, worker: Worker, mount: str, vault_client: hvac.Client) -> None:
    specs = [CertificateSpec(f"k{n}.example.com", (f"k{n}.example.com",), (), "ec-p256", 90, "tls-server") for n in range(ORDERED)]
    dice = random.Random(20261124)  # noqa: S311 - the same pauses in every run
    for kill in range(KILLS):
        before = AuditEvent.objects.count()
        for first in range(kill * CHUNK, (kill + 1) * CHUNK, CHUNK // 3):
            submit_many(specs[first : min(first + CHUNK // 3, (kill + 1) * CHUNK)], requester=requester)
        wait_until(lambda before=before: AuditEvent.objects.count() > before + CHUNK, seconds=20)  # type: ignore[misc]
        time.sleep(dice.uniform(0, 0.3))
        kill_at_work(worker)
        recovery.restart_stalled()  # what beat does every 5 s
        worker.start()
    finish(worker, seconds=60)
    assert_books_balance(mount, vault_client)
    assert_inventory_is_sound()
    assert Attempt.objects.filter(outcome="lost").exists(), "no kill hit a worker at work: this run proved nothing"


def kill_at_work(worker: Worker) -> None:
    """Kill the worker while an attempt is open, or when everything is done.

    The worker is paused before the look, so that it cannot finish between the look and the kill.
    """
    while CertificateRequest.objects.exclude(state=S.COMPLETED).exists():
        with worker.paused():
            time.sleep(0.05)  # a COMMIT that was under way reaches its end in PostgreSQL
            if Attempt.objects.filter(closed_at__isnull=True).exists():
                worker.kill()
                return
        time.sleep(0.01)
    worker.kill()


def wait_until(done: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "the worker does not work"
        time.sleep(0.01)


def finish(worker: Worker, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while CertificateRequest.objects.exclude(state=S.COMPLETED).exists():
        assert time.monotonic() < deadline, (dict(CertificateRequest.objects.values_list("state", "error")), worker.log.read_text()[-3000:])
        time.sleep(1)
        recovery.restart_stalled()
    recovery.settle_unclaimed()


def assert_books_balance(mount: str, vault_client: hvac.Client) -> None:
    """RELIABILITY 5: items, serials, the signer's own book, the keys in Vault and the audit log all say the same."""
    assert Certificate.objects.count() == ORDERED
    assert Certificate.objects.values("request").distinct().count() == ORDERED
    assert Certificate.objects.values("issuer", "serial_number").distinct().count() == ORDERED
    signed = set(IssuanceIntent.objects.filter(state="signed").values_list("serial_number", flat=True))
    assert signed == set(Certificate.objects.values_list("serial_number", flat=True))
    in_vault = set(vault_client.secrets.transit.list_keys(mount_point=mount)["data"]["keys"])
    assert in_vault == set(Key.objects.filter(backend="vault").values_list("name", flat=True))
    assert Key.objects.filter(purpose="leaf").exclude(state="active").count() == 0
    for event in ("certificate:issued", "key:generated", "csr:created", "certificate:recorded"):
        subjects = list(AuditEvent.objects.filter(event=event, subject__startswith="request:").values_list("subject", flat=True))
        assert (len(subjects), len(set(subjects))) == (ORDERED, ORDERED), event
    while seal():
        pass
    assert verify(now=database_now()).success
