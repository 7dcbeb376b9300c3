"""The CA is down while a certificate is revoked: the answer says what waits, and a real worker tells the CA once it is back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command

from certs import tasks
from certs.models import Certificate
from certs.requests.representation import wait
from certs.requests.submit import Requester, submit
from certs.spec import CertificateSpec
from tests.twins.ca import TwinCAClient

pytestmark = pytest.mark.django_db(transaction=True)


def test_revocation_waits_for_the_ca_and_is_told_when_it_is_back(
    worker: None, twin_portal: Requester, twin_ca: TwinCAClient, make_spec: Callable[..., CertificateSpec]
) -> None:
    request = wait(submit(make_spec("down.example.com"), requester=twin_portal), seconds=30)
    certificate = Certificate.objects.get(request=request)
    twin_ca.reachable = False
    out = StringIO()
    call_command("revoke", certificate.cert_id, reason="superseded", json=True, wait=20, stdout=out)
    told = json.loads(out.getvalue())
    assert (told["success"], told["status"], told["confirmed"]) == (True, "revocation_pending", False)
    assert "503" in told["waiting_for_ca"]
    tasks.sweep_ca.delay()  # what beat sends every 15 seconds; the CA is still down
    twin_ca.reachable = True
    deadline = time.monotonic() + 30
    while certificate.status != Certificate.Status.REVOKED and time.monotonic() < deadline:
        tasks.sweep_ca.delay()
        time.sleep(0.5)
        certificate.refresh_from_db()
    assert (certificate.status, twin_ca.book.living(request.public_id)) == (Certificate.Status.REVOKED, [])
