"""An own CA nears its end: people are warned in time, and nothing useless is issued."""

from __future__ import annotations

from datetime import timedelta

import pytest

from certs.ca.lifetime import end_of
from certs.models import Certificate, CertificateRequest, Issuer, OperatorAlert, OutgoingMail
from certs.status.ends import STAGES, stage_of, watch_end
from certs.status.watch import watch
from db.clock import database_now
from tests.certs.status.test_maintenance import days_ago, open_alerts
from tests.portal.authority import issue, issuing_ca
from tests.portal.commands import run
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.mark.parametrize("root", [False, True], ids=["issuing CA", "root"])
def test_each_stage_before_the_end_is_an_alert_and_a_mail_of_its_own(portal: Portal, root: bool) -> None:
    """T7: a year, 90, 30 and 7 days ahead, and at the end."""
    issuer = issuing_ca()
    if root:
        assert issuer.parent is not None
        issuer = issuer.parent
    watch()
    assert open_alerts("ca_ends") == []
    for number, days in enumerate(STAGES, 1):
        for hours in (1, 2):
            watch_end(issuer, now=end_of(issuer) - timedelta(days=days) + timedelta(hours=hours))
        assert open_alerts("ca_ends") == [f"ca:{issuer.slug}:{days}"]
        mails = OutgoingMail.objects.filter(subject__contains=f" CA {issuer.name} end")
        assert mails.count() == number
    alert = OperatorAlert.objects.get(kind="ca_ends", closed_at=None)
    assert f"{issuer.name} ended on" in alert.message
    assert ("bootstrap" if root else "roll_over_ca") in alert.next_step


def test_alert_that_a_person_closed_stays_closed_until_the_next_stage(portal: Portal) -> None:
    """T7: it was read; a mail every few seconds would only teach people to look away."""
    issuer = issuing_ca()
    watch_end(issuer, now=end_of(issuer) - timedelta(days=89))
    now = database_now()
    OperatorAlert.objects.filter(kind="ca_ends").update(closed_at=now, closed_by=portal.carol)
    watch_end(issuer, now=end_of(issuer) - timedelta(days=88))
    assert open_alerts("ca_ends") == []
    watch_end(issuer, now=end_of(issuer) - timedelta(days=29))
    assert open_alerts("ca_ends") == [f"ca:{issuer.slug}:30"]


def test_ca_that_was_replaced_may_end(portal: Portal) -> None:
    """T7: after the roll-over nothing is left to do."""
    issuer = issuing_ca()
    now = end_of(issuer) - timedelta(days=20)
    watch_end(issuer, now=now)
    assert run("roll_over_ca")[0] == 0
    issuer = Issuer.objects.get(pk=issuer.pk)
    assert stage_of(issuer, now=now) is None
    watch_end(issuer, now=now)
    assert open_alerts("ca_ends") == []


@pytest.fixture
def _three_days_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    days_ago(monkeypatch, 3647)


@pytest.mark.usefixtures("_three_days_before_the_end")
def test_issuing_stops_with_a_clear_error_when_no_useful_life_is_left(request: pytest.FixtureRequest) -> None:
    """T7: 90 days are not cut to 3 with "success"; what fits is still issued."""
    portal: Portal = request.getfixturevalue("portal")
    assert issue(portal, 1, days=90) == []
    failed = CertificateRequest.objects.get()
    assert failed.state == "failed"
    for words in ("ends on", "less than 7 days", "roll over"):
        assert words in failed.error
    (short,) = issue(portal, 1, prefix="short", days=2)
    assert short.not_after < end_of(short.issuer)
    assert Certificate.objects.count() == 1
