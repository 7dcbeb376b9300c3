"""What monitoring reads, and who may."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from certs.ca.lifetime import end_of
from certs.inventory import CertificateState
from certs.inventory.figures import count_states, state_figures
from certs.models import Certificate, CertificateRequest, OperatorAlert
from certs.schedules.setup import ensure_schedules
from db.clock import database_now
from tests.portal.authority import issue, publish_everything
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


DAY = timedelta(days=1)


def read(**headers: str) -> Any:
    return Client().get("/metrics", headers={"Host": "127.0.0.1:8000", **headers})


@pytest.fixture
def embedded(portal: Portal, settings: Any) -> None:
    settings.PKI_EMBEDDED, settings.ALLOWED_HOSTS = True, ["*"]


def test_gauges_say_what_stands(embedded: None) -> None:
    now = database_now()
    OperatorAlert.objects.create(kind="x", cause="x", message="x", next_step="x", raised_at=now, last_seen_at=now)
    text = read().content.decode()
    assert "\npki_alerts_open 1.0\n" in text
    assert '\npki_requests_unfinished{state="submitted"} 0.0\n' in text
    assert '\npki_ca_stopped{issuer="Internal-CA-Prod"} 0.0\n' in text
    assert CertificateRequest.objects.count() == 0


def test_certificates_by_state_are_read_from_kept_counts(embedded: None, portal: Portal) -> None:
    """A scrape counts no large table: a schedule does, and says when."""
    assert "pki_certificates{" not in read().content.decode()  # not counted yet
    first, second = issue(portal, 2)
    Certificate.objects.filter(pk=first.pk).update(renewal_off_reason="x", alert_at=first.not_before, not_after=second.not_before + DAY)
    before = database_now()
    assert count_states() == 2
    with CaptureQueriesContext(connection) as queries:
        families = {family.name: family for family in text_string_to_metric_families(read().content.decode())}
    counts = {one.labels["state"]: one.value for one in families["pki_certificates"].samples}
    assert counts == {state.value: 0 for state in CertificateState} | {"valid": 1, "needs_you": 1}
    (counted,) = families["pki_certificates_counted_timestamp_seconds"].samples
    assert before.timestamp() <= counted.value <= database_now().timestamp()
    assert not [one for one in queries if "state_now" in one["sql"]]
    Certificate.objects.filter(pk=first.pk).update(renewal_off_reason="", alert_at=first.alert_at, not_after=first.not_after)
    assert count_states() == 2  # counted again, in place of the last figures
    assert state_figures()[0][CertificateState.VALID] == 2


def test_ends_of_cas_crls_and_responders_are_gauges(embedded: None) -> None:
    """T7: monitoring sees them long before anything runs out, whoever reads the portal's mails."""
    issuer = publish_everything()
    assert issuer.parent is not None
    families = {family.name: family for family in text_string_to_metric_families(read().content.decode())}
    ends = {one.labels["issuer"]: one.value for one in families["pki_ca_not_after_timestamp_seconds"].samples}
    assert ends == {one.name: end_of(one).timestamp() for one in (issuer, issuer.parent)}
    (responder,) = families["pki_ocsp_responder_not_after_timestamp_seconds"].samples
    assert responder.value > database_now().timestamp()
    crls = {one.labels["crl"] for one in families["pki_crl_next_update_timestamp_seconds"].samples}
    assert crls == {issuer.name, issuer.parent.name}


def test_without_a_token_the_embedded_portal_answers_its_own_machine_only(embedded: None) -> None:
    assert read().status_code == 200
    assert Client(REMOTE_ADDR="192.0.2.1").get("/metrics").status_code == 403
    assert read(Host="pki.example.com").status_code == 403
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"):
        assert read(**{header: "127.0.0.1"}).status_code == 403


def test_without_a_token_nobody_reads_them_in_production_and_the_answer_says_what_to_do(portal: Portal) -> None:
    answer = read()
    assert (answer.status_code, "set PKI_METRICS_TOKEN" in answer.content.decode()) == (403, True)


def test_token_opens_them_and_nothing_else_does(portal: Portal, settings: Any) -> None:
    settings.PKI_METRICS_TOKEN = "f3a1" * 8
    assert read().status_code == 404
    assert read(Authorization="Bearer wrong").status_code == 404
    assert read(Authorization="Bearer ü").status_code == 404
    answer = read(Authorization=f"Bearer {settings.PKI_METRICS_TOKEN}")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations"
GUIDES = [OPERATIONS / "production.md", OPERATIONS / "schedules.md"]
# What Prometheus 2 and 3 send.
ACCEPTED = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.1",
    "text/plain",
)


@pytest.mark.parametrize("accept", ACCEPTED)
def test_prometheus_finds_the_series_of_every_alarm_that_the_documentation_recommends(
    portal: Portal, settings: Any, accept: str, tmp_path: Path
) -> None:
    """M2: scraped over plain HTTP under the service's name, as Prometheus does it beside the containers."""
    publish_everything()
    ensure_schedules(actor=SYSTEM, now=database_now())
    count_states()
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    seal()
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["pki.example.com"], True
    settings.PKI_METRICS_TOKEN = "f3a1" * 8
    answer = read(Host="web:8000", Authorization=f"Bearer {settings.PKI_METRICS_TOKEN}", Accept=accept)
    parse = openmetrics_families if answer["Content-Type"].startswith("application/openmetrics") else text_string_to_metric_families
    series = {sample.name: sample.value for family in parse(answer.content.decode()) for sample in family.samples}
    alarms = {name for guide in GUIDES for name in re.findall(r"`(pki_[a-z0-9_]+)`", guide.read_text())}
    assert len(alarms) >= 6
    assert alarms <= set(series)
