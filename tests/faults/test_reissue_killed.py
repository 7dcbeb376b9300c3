"""A CA is lost: 500 certificates are re-issued by another while the workers are killed, and each is renewed once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from audit.log import Actor
from certs.access.permissions import Authority
from certs.authorities.forecast import forecast_reissue
from certs.authorities.reissue import count_reissues, plan_reissue, start_reissue
from certs.ca.local.setup import ensure_own_ca
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.models import Certificate, CertificateRequest, Domain, IssuanceIntent, Issuer, Team
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.spec import KeySpec, spki_der
from pkiportal.celery import app
from policy.drafting import draft_version
from policy.models import Profile
from policy.presets import DEFAULT_V2_3
from policy.publishing import publish_version
from tests.faults.processes import Worker, environment
from tests.portal.external import issue_external

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long_fault]
COUNT, PART, KILLS = 500, 100, 3
SYSTEM = Actor("system", "test")
RENEWALS = CertificateRequest.objects.filter(renewed_from__isnull=False)


@pytest.fixture
def lost(settings: Any) -> Issuer:
    """A CA with 500 valid certificates on keys of their owners, and another CA that issues."""
    settings.PKI_CA_API_INLINE = True
    settings.PKI_ATTEMPT_LEASE_SECONDS, settings.PKI_SWEEP_AFTER_SECONDS = 5, 1
    now = database_now()
    publish_version(draft_version("default", DEFAULT_V2_3, actor=SYSTEM, now=now), actor=SYSTEM, now=now)
    Profile.objects.create(name="tls-server", ekus=["serverAuth"])
    team = Team.objects.create(slug="web", name="Web", default_domain="example.com")
    Domain.objects.create(name="example.com", team=team)
    issuer, _ = ensure_own_ca(name="Internal-CA-Prod", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    ensure_own_ca(name="Other-CA", spec=KeySpec.EC_P256, actor=SYSTEM, tell=lambda _line: None)
    requester = Requester(actor=SYSTEM, team=team, channel="portal")
    for first in range(0, COUNT, PART):
        names = [f"k{number}.example.com" for number in range(first, first + PART)]
        keys = [spki_der(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in names]
        specs = [
            CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=b"", spki_der=key)
            for name, key in zip(names, keys, strict=True)
        ]
        issue_external(specs, requester=requester)
    assert Certificate.objects.count() == COUNT
    return issuer


def test_each_of_500_certificates_is_re_issued_once_though_workers_are_killed(lost: Issuer, tmp_path: Path) -> None:
    authority = Authority(SYSTEM)
    reissue = plan_reissue(lost, "other-ca", reason="lost", authority=authority)
    app.control.purge()  # the forecast is computed here
    assert forecast_reissue(reissue.pk) == COUNT
    reissue.refresh_from_db()
    env = environment(PKI_ATTEMPT_LEASE_SECONDS="5", PKI_SWEEP_AFTER_SECONDS="1", PKI_RENEW_BUDGET="10000")
    with Worker(tmp_path / "worker.log", env) as worker:
        reissue = start_reissue(reissue, confirmation=lost.name, authority=authority)
        done = 0
        for _ in range(KILLS):
            done = _wait_for_more_than(done, worker)
            worker.kill()
            worker.start()
            app.send_task("certs.tasks.renew_due")  # what beat does every quarter of an hour
        assert done < COUNT, "no kill hit the re-issue at work: this run proved nothing"
        _finish(worker)
    assert RENEWALS.filter(state=S.COMPLETED).values("renewed_from").distinct().count() == COUNT
    assert RENEWALS.count() == COUNT
    other = Issuer.objects.get(name="Other-CA")
    assert Certificate.objects.filter(renewed_from__isnull=False, issuer=other).count() == COUNT
    assert IssuanceIntent.objects.filter(issuer=other, state="signed", profile="tls-server").count() == COUNT
    count_reissues()
    reissue.refresh_from_db()
    assert (reissue.state, reissue.issued, reissue.left) == ("done", COUNT, 0)


def _wait_for_more_than(done: int, worker: Worker) -> int:
    deadline = time.monotonic() + 60
    while (count := RENEWALS.filter(state=S.COMPLETED).count()) <= done:
        assert time.monotonic() < deadline, worker.log.read_text()[-3000:]
        time.sleep(0.02)
    return count


def _finish(worker: Worker) -> None:
    deadline = time.monotonic() + 180
    while RENEWALS.filter(state=S.COMPLETED).count() < COUNT:
        assert time.monotonic() < deadline, (RENEWALS.values_list("state", flat=True)[:5], worker.log.read_text()[-3000:])
        time.sleep(1)
        recovery.restart_stalled()
