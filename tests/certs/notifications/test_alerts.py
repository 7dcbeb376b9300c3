"""One cause that lasts is one alert and one mail, and an alert closes when the work works."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.test import Client

from certs.enums import AlertKind
from certs.models import OperatorAlert, OutgoingMail
from certs.notifications import alerts
from certs.notifications.alerts import close_alerts, may_try, notify_ends, raise_alert, settled_key_alerts
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import Cast, person
from tests.certs.life import issued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
NOW = datetime.fromisoformat("2026-11-29T12:00:00+00:00")
MINUTE = timedelta(minutes=1)


def trouble(now: datetime, kind: AlertKind = AlertKind.CA_UNAVAILABLE) -> None:
    with transaction.atomic():
        raise_alert(kind=kind, cause="ca:X", message="X is down", next_step="Wait.", now=now)


def over(now: datetime) -> None:
    close_alerts(kind=AlertKind.CA_UNAVAILABLE, cause="ca:X", now=now)


def mails() -> list[str]:
    return list(OutgoingMail.objects.order_by("pk").values_list("subject", flat=True))


def test_cause_that_comes_and_goes_is_one_alert_and_one_mail() -> None:
    """F9, N5: 7 mails in 93 s for one CA."""
    for second in range(0, 120, 15):
        trouble(NOW + timedelta(seconds=second))
        over(NOW + timedelta(seconds=second + 7))
    alert = OperatorAlert.objects.get()
    assert (alert.occurrences, alert.raised_at) == (8, NOW)
    assert mails() == ["X is down"]


def test_cause_that_comes_back_later_is_an_alert_of_its_own() -> None:
    trouble(NOW)
    over(NOW + MINUTE)
    trouble(NOW + MINUTE + alerts.REOPEN)
    assert OperatorAlert.objects.count() == 2
    assert mails() == ["X is down"] * 2


def test_alert_that_a_person_closed_is_not_opened_again() -> None:
    trouble(NOW)
    carol = person("carol")
    OperatorAlert.objects.update(closed_at=NOW + MINUTE, closed_by=carol)
    trouble(NOW + 2 * MINUTE)
    assert OperatorAlert.objects.count() == 2
    assert mails() == ["X is down"] * 2


def test_end_of_an_outage_is_mailed_once_and_only_when_it_lasts() -> None:
    trouble(NOW)
    over(NOW + MINUTE)
    assert notify_ends(NOW + 2 * MINUTE) == 0
    trouble(NOW + 3 * MINUTE)
    assert notify_ends(NOW + 30 * MINUTE) == 0
    over(NOW + 31 * MINUTE)
    assert notify_ends(NOW + 31 * MINUTE + alerts.REOPEN) == 1
    assert notify_ends(NOW + 60 * MINUTE) == 0
    assert mails() == ["X is down", "Works again: X"]
    body = OutgoingMail.objects.get(subject="Works again: X").body
    assert "29 Nov 2026 12:31 UTC" in body


def test_end_of_what_was_no_outage_is_not_mailed() -> None:
    trouble(NOW, kind=AlertKind.KEY_BLOCKED)
    close_alerts(kind=AlertKind.KEY_BLOCKED, cause="ca:X", now=NOW + MINUTE)
    assert notify_ends(NOW + 60 * MINUTE) == 0


def test_work_that_fails_is_tried_with_growing_pauses() -> None:
    """N5: 27 audit events for one request in a minute."""
    assert may_try(AlertKind.CA_UNAVAILABLE, "ca:X", now=NOW) == 0  # no alert: nothing to pause for
    trouble(NOW)
    tried = [
        second for second in range(0, 600, 15) if may_try(AlertKind.CA_UNAVAILABLE, "ca:X", now=NOW + timedelta(seconds=second)) is not None
    ]
    assert tried == [0, 15, 45, 105, 225, 345, 465, 585]


def test_officers_close_what_is_about_keys_and_many_at_once(cast: Cast, client: Client) -> None:
    """After a bulk revocation an officer had a hundred alerts about keys, and a button for none of them."""
    now = database_now()

    def alert(kind: AlertKind, cause: str) -> OperatorAlert:
        return OperatorAlert.objects.create(kind=kind, cause=cause, message="m", next_step="n", raised_at=now, last_seen_at=now)

    keys = [alert(AlertKind.KEY_BLOCKED, f"key:{number:064x}") for number in range(4)]
    other = alert(AlertKind.REPORT_FAILED, "report:2026-48")
    client.force_login(cast["officer"])
    assert "Also close the 3 other alerts" in client.get(f"/alerts/{keys[0].pk}/").content.decode()
    assert "Close the alert" not in client.get(f"/alerts/{other.pk}/").content.decode()
    assert client.post(f"/alerts/{other.pk}/close/").status_code == 404
    assert client.post(f"/alerts/{keys[0].pk}/close/").status_code == 302
    assert OperatorAlert.objects.filter(closed_at=None).count() == 4
    client.post(f"/alerts/{keys[1].pk}/close/", {"others": "yes"})
    assert list(OperatorAlert.objects.filter(closed_at=None)) == [other]
    client.force_login(cast["approver"])
    assert client.post(f"/alerts/{keys[0].pk}/close/").status_code == 404


def test_an_alert_about_a_key_with_a_valid_certificate_is_closed_alone(
    cast: Cast, client: Client, make_spec: Callable[..., CertificateSpec]
) -> None:
    spki = issued(make_spec(), cast.requester("requester")).spki_sha256
    now = database_now()
    rows = [
        OperatorAlert.objects.create(
            kind=AlertKind.KEY_BLOCKED, cause=f"key:{key}", message="m", next_step="n", raised_at=now, last_seen_at=now
        )
        for key in (spki, "0" * 64)
    ]
    assert settled_key_alerts(most=10, now=now) == [rows[1].pk]
