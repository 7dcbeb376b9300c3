"""Acts on many certificates while their worker is killed: each certificate is acted on once, and each act ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db.models import Count, QuerySet

from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.acts import work
from certs.acts.control import digest_of, pause_act, resume_act, submit_act
from certs.acts.drafting import choose_options, draft_act
from certs.acts.progress import tally_of
from certs.ca.local.setup import ensure_own_ca
from certs.models import BulkAct, BulkActLine, Certificate, CertificateRequest, Domain, OutgoingMail, Revocation, Team
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.spec import KeySpec, spki_der
from pkiportal.celery import app
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.cast import Cast, make_cast
from tests.certs.life import SYSTEM
from tests.faults.processes import Worker, environment
from tests.portal.external import issue_external

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long_fault]
COUNT, REVOKED, KILLS = 120, 40, 3
Outcome, State = BulkActLine.Outcome, BulkAct.State


@pytest.fixture
def cast(settings: Any) -> Cast:
    """Everybody, in a portal with its own CA and the policy of a first start."""
    settings.PKI_CA_API_INLINE = True
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    ensure_own_ca(name="Internal-CA-Prod", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    return make_cast(team)


@pytest.fixture
def inventory(cast: Cast) -> list[Certificate]:
    """Certificates of the portal's own CA, on keys of their owners."""
    keys = [spki_der(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(COUNT)]
    specs = [
        CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=b"", spki_der=key)
        for name, key in zip((f"k{number}.example.com" for number in range(COUNT)), keys, strict=True)
    ]
    issue_external(specs, requester=cast.requester("requester"))
    found = list(Certificate.objects.order_by("pk"))
    assert len(found) == COUNT
    return found


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path / "worker.log", environment()) as started:
        yield started


def submitted(kind: str, options: dict[str, str], rows: list[Certificate], authority: Authority) -> BulkAct:
    act = draft_act(kind, authority=authority, chosen=[row.cert_id for row in rows])
    act = choose_options(act, options, authority=authority)
    waiting = tally_of(act).waiting
    assert waiting == len(rows)
    return submit_act(act, authority=authority, shown=digest_of(act), typed=str(waiting))


def ended() -> int:
    return BulkActLine.objects.exclude(outcome=Outcome.WAITING).count()


def wait_for_more_than(count: int, worker: Worker) -> int:
    deadline = time.monotonic() + 90
    while (now := ended()) <= count:
        assert time.monotonic() < deadline, worker.log.read_text()[-3000:]
        time.sleep(0.02)
    return now


def leases_are_over() -> None:
    """Let the sweeper find what the killed worker had begun, as if the time of its leases had passed."""
    past = database_now() - 2 * work.LEASE
    BulkAct.objects.filter(state=State.RUNNING).update(submitted_at=past, worked_at=past)
    work.restart_stalled()


def is_up(worker: Worker) -> None:
    deadline = time.monotonic() + 60
    while not app.control.ping(timeout=0.5):
        assert time.monotonic() < deadline, worker.log.read_text()[-3000:]


def finish(worker: Worker) -> None:
    deadline = time.monotonic() + 120
    while BulkAct.objects.exclude(state=State.DONE).exists():
        assert time.monotonic() < deadline, worker.log.read_text()[-3000:]
        time.sleep(0.5)


def once_each(events: QuerySet[AuditEvent], rows: list[Certificate]) -> None:
    """Each certificate has exactly one of the events."""
    found = events.order_by().values_list("subject").annotate(Count("pk"))
    assert dict(found) == {f"certificate:{row.cert_id}": 1 for row in rows}


def test_each_certificate_is_acted_on_once_though_the_worker_is_killed(inventory: list[Certificate], cast: Cast, worker: Worker) -> None:
    requester, officer = cast.authority("requester"), cast.authority("officer")
    revoked, kept = inventory[:REVOKED], inventory[REVOKED:]
    acts = [
        submitted("revoke", {"reason": "superseded", "comment": ""}, revoked, requester),
        submitted("renew", {}, kept, requester),
        submitted("add_tag", {"tag": "shop"}, kept, requester),
        submitted("owner", {"owner": "colleague"}, kept, requester),
    ]
    lines = REVOKED + 3 * len(kept)
    # 1. Kill the whole worker at work, three times.
    done = 0
    for _ in range(KILLS):
        done = wait_for_more_than(done, worker)
        worker.kill()
        worker.start()
        leases_are_over()
    # 2. Kill it once more, pause while nothing runs, and nothing is begun until somebody resumes.
    done = wait_for_more_than(done, worker)
    worker.kill()
    done = ended()
    assert done < lines, "no kill hit the acts at work: this run proved nothing"
    running = [act for act in acts if BulkAct.objects.get(pk=act.pk).state == State.RUNNING]
    for act in running:
        pause_act(act, authority=officer)
    worker.start()
    leases_are_over()
    BulkAct.objects.update(worked_at=None)
    for act in running:
        work.ask_worker(act.pk)
    is_up(worker)
    time.sleep(1)
    assert ended() == done
    for act in running:
        resume_act(act, authority=officer)
    finish(worker)
    # 3. Everything happened once.
    assert set(BulkActLine.objects.values_list("outcome", flat=True)) == {Outcome.DONE}
    assert Revocation.objects.count() == REVOKED
    once_each(AuditEvent.objects.filter(event="certificate:revocation_requested"), revoked)
    described = AuditEvent.objects.filter(event="certificate:described")
    once_each(described.filter(data__has_key="tags"), kept)
    once_each(described.filter(data__has_key="owner"), kept)
    renewals = CertificateRequest.objects.filter(renewed_from__isnull=False)
    assert renewals.count() == renewals.values("renewed_from").distinct().count() == len(kept)
    assert set(Certificate.objects.filter(pk__in=[row.pk for row in kept]).values_list("tags", "owner__username")) == {
        (" shop ", "colleague")
    }
    for act in acts:
        events = AuditEvent.objects.filter(subject=act.subject).values_list("event", flat=True)
        assert list(events).count("act:completed") == 1
    assert OutgoingMail.objects.filter(topic="act").count() == len(acts)
