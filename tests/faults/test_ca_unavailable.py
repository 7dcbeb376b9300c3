"""The CA is down: retries after 1, 2 and 4 seconds, then the request is held with what it has, people are told, and it goes on by id."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from itertools import pairwise
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.issuance import recovery
from certs.models import Attempt, CertificateRequest, OperatorAlert, OutgoingMail, RequestCSR
from certs.notifications.delivery.mail import send_due
from certs.requests.representation import answer, wait
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import Key
from tests.certs.books import assert_balanced
from tests.twins.ca import Fault, TwinCAClient

MakeSpec = Callable[..., CertificateSpec]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(worker: None, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec, settings: Any) -> CertificateRequest:
    """After as many retries as ever, but without their pauses."""
    settings.PKI_CA_RETRY_SECONDS = (0, 0, 0)
    twin_ca.reachable = False
    return wait(submit(make_spec("down.example.com"), requester=twin_portal), seconds=30)


def test_ca_that_is_down_is_tried_again_after_1_2_and_4_seconds(
    worker: None, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    twin_ca.reachable = False
    held = wait(submit(make_spec("down.example.com"), requester=twin_portal), seconds=30)
    opened = list(Attempt.objects.filter(request=held, step="submit").order_by("number").values_list("opened_at", flat=True))
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(opened)]
    assert [round(pause) for pause in pauses] == [1, 2, 4]


def test_held_request_answers_as_the_design_says(held: CertificateRequest) -> None:
    told = answer(held)
    assert told["resume_id"].startswith("resume-")
    assert {name: told[name] for name in ("success", "error", "state")} == {
        "success": False,
        "error": "CA unavailable after 3 retries",
        "state": "csr_created",
    }


def test_operator_is_told_once_in_the_portal_and_by_mail(held: CertificateRequest, twin_portal: Requester, make_spec: MakeSpec) -> None:
    wait(submit(make_spec("also-down.example.com"), requester=twin_portal), seconds=30)
    alert = OperatorAlert.objects.get(kind="ca_unavailable", closed_at__isnull=True)
    assert alert.occurrences == 2
    assert send_due() == 1
    (message,) = mail.outbox
    assert "Twin-CA is unavailable" in message.subject
    assert "resume" in message.body


def test_resume_finishes_without_a_second_key_or_csr(held: CertificateRequest, twin_ca: TwinCAClient) -> None:
    key_before, csr_before = held.key_id, bytes(RequestCSR.objects.get(request=held).der)
    twin_ca.reachable = True
    out = StringIO()
    call_command("resume", held.resume_id, json=True, wait=30, stdout=out)
    assert json.loads(out.getvalue())["success"] is True
    held.refresh_from_db()
    assert (held.key_id, bytes(RequestCSR.objects.get(request=held).der)) == (key_before, csr_before)
    assert Key.objects.filter(claimed_for=held.public_id).count() == 1
    assert_balanced(held, twin_ca)
    events = list(AuditEvent.objects.filter(subject=held.subject).order_by("subject_seq").values_list("event", flat=True))
    assert events[-5:] == ["ca:unavailable", "request:resumed", "ca:submitted", "certificate:issued", "certificate:recorded"]


def test_held_request_goes_on_by_itself_when_the_ca_is_back(held: CertificateRequest, twin_ca: TwinCAClient) -> None:
    assert recovery.release_for_answering_cas() == 0
    twin_ca.reachable = True
    assert recovery.release_for_answering_cas() == 1
    assert wait(held, seconds=30).state == S.COMPLETED
    recovery.release_for_answering_cas()
    assert not OperatorAlert.objects.filter(kind="ca_unavailable", closed_at__isnull=True).exists()


def test_resume_of_an_unknown_id_and_of_a_finished_request_is_refused(held: CertificateRequest, twin_ca: TwinCAClient) -> None:
    twin_ca.reachable = True
    resume_id = held.resume_id
    assert resume_id is not None
    assert _resumed("resume-nonsense") == (1, "notFound")
    assert _resumed(resume_id) == (0, None)
    assert _resumed(resume_id) == (1, "notFound")  # a finished request has no resume id any more


def _resumed(resume_id: str) -> tuple[int, str | None]:
    """(exit code, problem type)"""
    out, code = StringIO(), 0
    try:
        call_command("resume", resume_id, json=True, wait=30, stdout=out)
    except SystemExit as left:
        code = int(left.code or 0)
    return code, json.loads(out.getvalue()).get("type")


def test_outage_in_the_middle_of_a_batch_stops_only_what_was_not_sent(
    worker: None, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec
) -> None:
    first = wait(submit(make_spec("before.example.com"), requester=twin_portal), seconds=30)
    twin_ca.reachable = False
    second = submit(make_spec("after.example.com"), requester=twin_portal)
    time.sleep(2)
    twin_ca.reachable = True  # back before the retries are used up
    assert (wait(first, seconds=1).state, wait(second, seconds=30).state) == (S.COMPLETED, S.COMPLETED)
    assert twin_ca.book.living(second.public_id)


def test_ca_whose_health_page_is_fine_and_whose_orders_fail_is_one_alert_and_one_mail(
    worker: None,
    twin_portal: Requester,
    twin_ca: TwinCAClient,
    make_spec: MakeSpec,
    settings: Any,
) -> None:
    """N5: the alert closed at each good probe and opened at each failed order."""
    settings.PKI_CA_RETRY_SECONDS = ()
    twin_ca.faults = [Fault.DOWN] * 50
    held = wait(submit(make_spec("a.example.com"), requester=twin_portal), seconds=30)
    for _ in range(6):
        recovery.release_for_answering_cas()
        time.sleep(0.3)
    alert = OperatorAlert.objects.get(kind="ca_unavailable")
    assert (alert.closed_at, alert.trials) == (None, 1)
    assert OutgoingMail.objects.count() == len(settings.PKI_OPERATOR_EMAILS)
    assert AuditEvent.objects.filter(event="request:resumed").count() == 1
    twin_ca.faults = []
    OperatorAlert.objects.update(tried_at=database_now() - timedelta(minutes=10))
    assert recovery.release_for_answering_cas() == 1
    assert OperatorAlert.objects.get(kind="ca_unavailable").closed_at is None
    assert wait(held, seconds=30).state == S.COMPLETED
    recovery.release_for_answering_cas()
    assert OperatorAlert.objects.get(kind="ca_unavailable").closed_at is not None
