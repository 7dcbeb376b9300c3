"""What monitoring reads, and who may."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from audit.clock import database_now
from certs.models import CertificateRequest, OperatorAlert
from pkiportal.metrics import Sample, render
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def read(**headers: str) -> Any:
    return Client().get("/metrics", headers={"Host": "127.0.0.1:8000", **headers})


@pytest.fixture
def embedded(portal: Portal, settings: Any) -> None:
    settings.PKI_EMBEDDED, settings.ALLOWED_HOSTS = True, ["*"]


def test_gauges_say_what_stands(embedded: None) -> None:
    now = database_now()
    OperatorAlert.objects.create(kind="x", cause="x", message="x", next_step="x", raised_at=now, last_seen_at=now)
    text = read().content.decode()
    assert "\npki_alerts_open 1\n" in text
    assert '\npki_requests_unfinished{state="submitted"} 0\n' in text
    assert '\npki_ca_stopped{issuer="Internal-CA-Prod"} 0\n' in text
    assert CertificateRequest.objects.count() == 0


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


def test_labels_are_escaped() -> None:
    assert "\npki_x 12345678\n" in render([Sample("pki_x", "X.", 12_345_678)])
    text = render([Sample("pki_x", "X.", 1, ("issuer", 'a"b\\c\nd'))])
    assert text == '# HELP pki_x X.\n# TYPE pki_x gauge\npki_x{issuer="a\\"b\\\\c\\nd"} 1\n'
