"""The delegated responders: short-lived, good for nothing else, renewed by themselves."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.db import connections

from audit.models import AuditEvent
from certs.ca.local.ocsp_responder import RENEW_EVERY, ensure_responder
from certs.models import IssuanceIntent, ResponderCertificate
from certs.status.maintenance import keep_status_information
from certs.status.ocsp.respond import answer
from certs.x509.certificate.ocsp_responder import LONGEST_LIFE, build_responder_tbs, lint_responder
from certs.x509.certificate.serial import new_serial
from certs.x509.ocsp import Unsuccessful
from db.clock import database_now
from keys.models import Key
from keys.spec import spki_der
from tests.certs.status.ocsp.questions import request_for
from tests.certs.x509.certificate.chains import NOW, issuer_of, key_of
from tests.portal.authority import issue, publish_everything
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def test_responder_is_short_lived_and_good_for_nothing_else(portal: Portal) -> None:
    issuer = publish_everything()
    responder = ResponderCertificate.objects.select_related("key").get()
    certificate = x509.load_der_x509_certificate(bytes(responder.certificate_der))
    values = {extension.oid: extension.value for extension in certificate.extensions}
    assert x509.OCSPNoCheck.oid in values
    assert list(values[x509.ExtendedKeyUsage.oid]) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc + timedelta(seconds=1) == LONGEST_LIFE
    assert (responder.key.purpose, responder.key.spec) == (Key.Purpose.OCSP, "ec-p256")
    assert responder.key.pk != issuer.key_id
    intent = IssuanceIntent.objects.get(order_ref=responder.order_ref)
    assert (intent.state, intent.serial_number) == ("signed", responder.serial_number)


def test_responder_is_made_once_a_period_and_renewed_by_itself(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = publish_everything()
    assert ensure_responder(issuer, actor=SYSTEM) == ResponderCertificate.objects.get()
    later = database_now() + RENEW_EVERY
    monkeypatch.setattr("certs.ca.local.ocsp_responder.database_now", lambda: later)
    assert keep_status_information()["responders"] == 1
    assert keep_status_information()["responders"] == 0
    first, second = ResponderCertificate.objects.order_by("pk")
    assert first.key_id != second.key_id
    assert Key.objects.filter(purpose=Key.Purpose.OCSP).count() == 2


def test_two_workers_at_once_make_one_responder(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look before either has made one: the claim of the key and the ledger name the period."""
    issuer = publish_everything()
    later = database_now() + RENEW_EVERY
    monkeypatch.setattr("certs.ca.local.ocsp_responder.database_now", lambda: later)
    barrier, found = threading.Barrier(2), []

    def go() -> None:
        try:
            barrier.wait(10)
            found.append(ensure_responder(issuer, actor=SYSTEM))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 2
    assert found[0] == found[1]
    assert ResponderCertificate.objects.count() == 2  # with the one of the period before
    assert Key.objects.filter(purpose=Key.Purpose.OCSP).count() == 2
    assert AuditEvent.objects.filter(event="ocsp:responder_made").count() == 2


def test_compromised_responder_key_signs_nothing(portal: Portal) -> None:
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    Key.objects.filter(purpose=Key.Purpose.OCSP).update(state=Key.State.COMPROMISED)
    assert answer(issuer.slug, request_for(certificate), client="x").body == Unsuccessful.TRY_LATER


def test_linter_of_responders_names_what_is_wrong() -> None:
    issuer = issuer_of("p-256")
    changes: dict[str, Any] = {"not_before": NOW, "not_after": NOW + LONGEST_LIFE - timedelta(seconds=1), "serial": new_serial()}

    key = spki_der(key_of("p-256", "responder").public_key())

    def findings(**other: Any) -> list[str]:
        unsigned = build_responder_tbs(issuer=issuer.certificate, spki_der=key, common_name="OCSP x", **(changes | other))
        return lint_responder(unsigned, issuer=issuer.certificate)

    assert findings() == []
    assert findings(not_after=NOW + LONGEST_LIFE) == ["validity: longer than 7 days"]
    assert findings(serial=5) == ["serialNumber: must be positive, below 2^159 and of at least 64 bits"]
    assert findings(not_before=NOW - timedelta(days=1000), not_after=NOW - timedelta(days=999)) == ["validity: outside the issuer's"]
