"""What the plots and the last section of a report show: counted by week, and the state of CRLs, OCSP and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, record
from audit.transparency.sealer import seal
from audit.transparency.signing_key import ensure_sealing_key
from certs.bulk.submit import submit_order
from certs.enums import AlertKind, RevocationReason
from certs.models import CRL, Certificate, ComplianceReport, CRLPoint, OutgoingMail, ResponderCertificate, Revocation
from certs.notifications.alerts import raise_alert
from certs.reports.facts import WEEKS_AHEAD, WEEKS_BACK, compute
from certs.reports.keeping import history_before, keep_report, write_mails
from certs.reports.weeks import Week
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.certs.bulk.orders import drafted, work_off_all
from tests.certs.inventory.estate import Estate
from tests.portal.authority import issue, publish_everything
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.fixture
def estate(twin_portal: Requester, make_spec: Callable[..., CertificateSpec]) -> Estate:
    submit_order(drafted([make_spec("a.example.com")], twin_portal), authority=twin_portal.authority)
    work_off_all()
    # The template itself belongs to no week of the plots.
    long_ago = database_now() - 900 * DAY
    Certificate.objects.update(issued_at=long_ago, not_before=long_ago, not_after=long_ago + DAY)
    return Estate(Certificate.objects.get())


def facts_of(week: Week, now: datetime) -> dict[str, Any]:
    return compute(week, now=now).facts


def test_issued_renewed_and_revoked_are_counted_in_the_week_in_which_they_happened(estate: Estate) -> None:
    now = database_now()
    this = Week.of(now)
    old, first = this.plus(1 - WEEKS_BACK), this.plus(-3)
    ends = now + 300 * DAY
    before = estate.add(issued_at=first.start, not_after=ends)
    estate.add(issued_at=first.end - SECOND, not_after=ends)
    estate.add(issued_at=first.end, not_after=ends, renewed_from=before)
    estate.add(issued_at=old.start, not_after=ends)
    estate.add(issued_at=old.start - SECOND, not_after=ends)  # before the plot begins
    gone = [estate.add(issued_at=old.start - 9 * DAY, not_after=ends, status=status) for status in ("revoked", "revocation_pending")]
    estate.add(issued_at=old.start - 9 * DAY, not_after=ends, status="revoked", reason=RevocationReason.CERTIFICATE_HOLD)
    estate.save()
    Revocation.objects.update(requested_at=first.plus(1).start)
    Revocation.objects.filter(certificate__cert_id=gone[1].cert_id).update(requested_at=first.end - SECOND)
    held = Revocation.objects.get(reason=RevocationReason.CERTIFICATE_HOLD).certificate
    Certificate.objects.filter(pk=held.pk).update(status="good")  # released: it counts no more
    found = {one["week"]: (one["issued"], one["renewed"], one["revoked"]) for one in facts_of(this, now)["movements"]}
    assert len(found) == WEEKS_BACK
    assert list(found) == [str(this.plus(number - WEEKS_BACK + 1)) for number in range(WEEKS_BACK)]
    seen = {week: counts for week, counts in found.items() if any(counts)}
    assert seen == {str(old): (1, 0, 0), str(first): (2, 0, 1), str(first.plus(1)): (0, 1, 1)}


def test_ends_are_counted_by_week_for_a_year_and_only_of_what_is_active(estate: Estate) -> None:
    now = database_now()
    this = Week.of(now)
    last = this.plus(WEEKS_AHEAD - 1)
    old = estate.add(not_after=this.plus(5).start)
    estate.add(not_after=this.plus(5).end - SECOND)
    estate.add(not_after=last.end - SECOND, renewed_from=old)
    estate.add(not_after=last.end)
    estate.add(not_after=this.plus(6).start, status="revoked")
    estate.save()
    ends = facts_of(this, now)["ends"]
    assert [one["week"] for one in ends] == [str(this.plus(number)) for number in range(WEEKS_AHEAD)]
    assert {one["week"]: one["count"] for one in ends if one["count"]} == {str(this.plus(5)): 1, str(last): 1}


def test_compliance_over_time_is_what_earlier_reports_stated(estate: Estate) -> None:
    now = database_now()
    this = Week.of(now)
    for back, percent, version in ((27, 1.0, "v1"), (25, 50.0, "v1"), (2, 75.5, "v2"), (1, None, "v2")):
        facts = {"compliance": {"percent": percent, "policy_version": version}}
        ComplianceReport.objects.create(week=str(this.plus(-back)), as_of=now, facts=facts)
    ComplianceReport.objects.create(week=str(this.plus(-3)))  # never computed
    row = keep_report(this)
    *before, current = row.facts["history"]
    assert [(one["week"], one["percent"], one["policy_version"]) for one in before] == [
        (str(this.plus(-25)), 50.0, "v1"),
        (str(this.plus(-2)), 75.5, "v2"),
        (str(this.plus(-1)), None, "v2"),
    ]
    assert (current["week"], current["policy_version"]) == (str(this), row.facts["compliance"]["policy_version"])
    assert history_before(this) == before


def mail_of(week: Week) -> OutgoingMail:
    row = keep_report(week)
    OutgoingMail.objects.all().delete()
    with transaction.atomic():
        write_mails(row, key="a test", now=database_now())
    return OutgoingMail.objects.filter(topic="report")[0]


def test_crls_and_responders_are_good_until_their_end_and_called_by_name_after_it(portal: Portal) -> None:
    issue(portal, 1)
    issuer = publish_everything()
    now, week = database_now(), Week.of(database_now())
    status = {one["issuer"]: one for one in facts_of(week, now)["status"]}
    assert {one["crl_good"] for one in status.values()} == {True}
    assert status[issuer.name]["crl_until"] == CRLPoint.objects.get(issuer=issuer).published.next_update.isoformat()  # type: ignore[union-attr]
    responder = ResponderCertificate.objects.filter(issuer=issuer).latest("not_after")
    assert (status[issuer.name]["ocsp_until"], status[issuer.name]["ocsp_good"]) == (responder.not_after.isoformat(), True)
    assert [one["ocsp"] for name, one in status.items() if name != issuer.name] == [False]  # a root has no responder
    assert "NOT CURRENT" not in mail_of(week).body

    CRL.objects.filter(point__issuer=issuer).update(next_update=now - SECOND)
    ResponderCertificate.objects.filter(issuer=issuer).update(not_after=now - SECOND)
    late = {one["issuer"]: one for one in facts_of(week, database_now())["status"]}[issuer.name]
    assert (late["crl_good"], late["ocsp_good"]) == (False, False)
    mail = mail_of(week)
    assert "(NOT CURRENT)" in mail.body
    assert "not current" in mail.html

    CRLPoint.objects.filter(issuer=issuer).update(published=None)
    never = {one["issuer"]: one for one in facts_of(week, database_now())["status"]}[issuer.name]
    assert (never["crl_until"], never["crl_good"]) == ("", False)


def test_audit_log_is_called_verified_broken_or_not_verified_as_it_is(portal: Portal, settings: Any, tmp_path: Any) -> None:
    settings.AUDIT_HOME = tmp_path
    ensure_sealing_key()
    week = Week.of(database_now())
    assert facts_of(week, database_now())["audit"]["verified_at"] == ""
    assert "not verified yet" in mail_of(week).body
    then = database_now() - 3 * DAY
    with transaction.atomic():
        record(EventType.AUDIT_VERIFIED, subject="audit", actor=Actor("system", "test"), at=then, data={})
    seal()
    audit = facts_of(week, database_now())["audit"]
    assert (audit["verified_at"], audit["late"], audit["problem"]) == (then.isoformat(), True, "")
    assert audit["checkpoint"].count("\n") >= 4
    assert audit["sealed"] > 0
    assert f"verified last on {then:%d %b %Y}" in mail_of(week).body
    with transaction.atomic():
        message = "The audit log was changed."
        raise_alert(kind=AlertKind.VERIFICATION_FAILED, cause="audit log", message=message, next_step="Look.", now=database_now())
    assert message in mail_of(week).body
    assert message in mail_of(week).html
