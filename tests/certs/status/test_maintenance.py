"""Status maintenance over the years: CAs that end, CAs that fail, and the others beside them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from certs.ca.lifetime import end_of
from certs.errors import Conflict
from certs.models import CRL, IssuanceIntent, Issuer, OperatorAlert, ResponderCertificate
from certs.status.crl import points_of, publish_crl
from certs.status.maintenance import keep_status_information
from db.clock import database_now
from keys.models import Key
from tests.certs.relying_parties import Files, crl_pem, openssl_verify
from tests.certs.status.crl.lists import serials
from tests.certs.status.ocsp.questions import said, word
from tests.portal.authority import issue, issuing_ca, publish_everything, published, revoke
from tests.portal.commands import run
from tests.portal.fixtures import SYSTEM, Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def days_ago(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """What is created from now on is dated so many days back: a CA ages without anybody waiting.

    A portal that is made from now on is not the one that other tests begin with.
    """
    monkeypatch.setattr("tests.portal.fixtures.remembered", lambda _name, make: make())
    then = database_now() - timedelta(days=days)
    monkeypatch.setattr("certs.ca.local.setup.database_now", lambda: then)


@pytest.fixture
def _bootstrapped_ten_years_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requested before `portal`, which makes the first CA."""
    days_ago(monkeypatch, 3655)


def open_alerts(kind: str) -> list[str]:
    rows = OperatorAlert.objects.filter(kind=kind, closed_at__isnull=True)
    return list(rows.order_by("cause").values_list("cause", flat=True))


@pytest.mark.usefixtures("_bootstrapped_ten_years_ago")
def test_revocation_reaches_a_crl_ten_years_after_bootstrap(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """T1: rolled over at +1,800 days, at +3,655 days the first CA is past its end and walked first."""
    portal: Portal = request.getfixturevalue("portal")
    days_ago(monkeypatch, 1855)
    first = issuing_ca()
    assert first.parent is not None
    publish_crl(points_of(first.parent)[0], actor=SYSTEM, validity=timedelta(days=365))
    code, _ = run("roll_over_ca")
    assert code == 0
    (certificate,) = issue(portal, 1)
    assert certificate.issuer.name == f"{first.name}-G2"
    revoke(certificate, "keyCompromise")
    keep_status_information()
    second = Issuer.objects.select_related("parent").get(pk=certificate.issuer_id)
    assert second.parent is not None
    assert serials(published(second)) == [certificate.serial_number]
    assert word(said(certificate)) == "revoked"
    crls = crl_pem(tmp_path / "crls.pem", published(second), published(second.parent))
    assert openssl_verify(Files.of(second, tmp_path), certificate, crls) == "certificate revoked"
    # The ended CA makes nothing and alarms nobody: it has a successor.
    assert CRL.objects.filter(point__issuer=first).count() == 0
    assert not ResponderCertificate.objects.filter(issuer=first).exists()
    assert OperatorAlert.objects.filter(closed_at__isnull=True).count() == 0


@pytest.mark.usefixtures("_bootstrapped_ten_years_ago")
def test_nothing_is_published_after_the_end_of_a_ca(request: pytest.FixtureRequest) -> None:
    """T7: a CRL made then would end before it begins."""
    request.getfixturevalue("portal")
    issuer = issuing_ca()
    with pytest.raises(Conflict, match="ended on"):
        publish_crl(points_of(issuer)[0], actor=SYSTEM)
    code, answer = run("publish_crl", "--issuer", issuer.name)
    assert (code, answer["success"], answer["crls"]) == (1, False, [])
    assert "ended on" in answer["error"]
    assert not CRL.objects.filter(next_update__lte=end_of(issuer), point__issuer=issuer).exists()


@pytest.mark.parametrize("fault", ["key", "certificate", "unforeseen"])
def test_ca_that_fails_stops_no_other_and_has_an_alert_of_its_own(portal: Portal, fault: str) -> None:
    """T1: the first CA walked is broken; its successor still gets its CRL, and late CRLs alarm."""
    old = publish_everything()
    run("roll_over_ca")
    (certificate,) = issue(portal, 1)
    assert old.key is not None
    if fault == "key":
        Key.objects.filter(pk=old.key.pk).update(state=Key.State.DESTROYED)
        CRL.objects.filter(point__issuer=old).update(this_update=database_now() - timedelta(hours=13))
    elif fault == "certificate":
        Issuer.objects.filter(pk=old.pk).update(certificate_der=b"\x30\x03\x02\x01\x05")
    else:
        CRL.objects.filter(point__issuer=old).update(distribution_point="moved", segments={"not": 1})
    revoke(certificate)
    keep_status_information()
    assert serials(published(certificate.issuer)) == [certificate.serial_number]
    assert f"ca:{old.name}" in open_alerts("status_failed")
    alert = OperatorAlert.objects.get(kind="status_failed", cause=f"ca:{old.name}", closed_at=None)
    assert old.name in alert.message
    CRL.objects.filter(point__issuer=certificate.issuer).update(next_update=database_now() + timedelta(hours=1), this_update=database_now())
    keep_status_information()
    assert f"crl:{certificate.issuer.slug}/0" in open_alerts("crl_late")


def test_ca_that_cannot_be_compared_stops_no_other(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    """T1: the nightly comparison walks all CAs too; a row that cannot be read is one CA's matter."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    run("roll_over_ca")
    intent = IssuanceIntent.objects.get(order_ref=certificate.request.public_id)
    intent.pk, intent.order_ref, intent.serial_number = None, "req-broken", "4" * 32
    intent.certificate_der = b"\x30\x03\x02\x01\x05"
    intent.save(force_insert=True)
    code, answer = run("reconcile_ca")
    caplog.clear()  # the record holds the traceback, and with it a cursor of SQLite that must not outlive the test
    first, second = answer["cas"]
    assert (code, first["issuer"], first["listed"]) == (1, issuer.name, False)
    assert "could not be compared" in first["error"]
    assert (second["issuer"], second["listed"]) == (f"{issuer.name}-G2", True)
    assert open_alerts("status_failed") == [f"reconcile:{issuer.name}"]


def test_alert_of_a_failed_ca_closes_once_its_turn_works(portal: Portal) -> None:
    """T1: an alert that stays open after the cause is gone teaches people to ignore alerts."""
    (certificate,) = issue(portal, 1)
    issuer = publish_everything()
    revoke(certificate)
    assert issuer.key is not None
    key = Key.objects.filter(pk=issuer.key.pk)
    state = key.get().state
    key.update(state=Key.State.DESTROYED)
    keep_status_information()
    assert open_alerts("status_failed") == [f"ca:{issuer.name}"]
    key.update(state=state)
    keep_status_information()
    assert open_alerts("status_failed") == []
    assert serials(published(issuer)) == [certificate.serial_number]
