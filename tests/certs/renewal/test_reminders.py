"""Who is reminded when of a certificate that nothing replaces, and the alerts about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.events import EventType
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.enums import RevocationReason
from certs.models import Certificate, OperatorAlert, OutgoingMail, RenewalNotice, Team
from certs.notifications.alerts import close_by_hand
from certs.renewal import expiry
from certs.renewal.expiry_alerts import close_settled, keep_expiry_alerts
from certs.renewal.expiry_mail import write_mails
from certs.renewal.reminders import remind
from certs.requests.submit import Requester
from certs.revocation.request import request_revocation
from certs.spec import CertificateSpec
from tests.cast import person
from tests.certs.life import SYSTEM, brought, issued, new_policy, renewed, walk
from tests.twins.ca import TwinCAClient
from tests.twins.clock import MovedClock, moved_clock, tomorrow_at

pytestmark = pytest.mark.django_db(transaction=True)  # the clock is PostgreSQL's
MakeSpec = Callable[..., CertificateSpec]
OPERATORS = "pki-operators@example.com"


@pytest.fixture
def clock(db: None) -> Iterator[MovedClock]:
    with moved_clock(tomorrow_at(9)) as clock:
        yield clock


@pytest.fixture
def alice(twin_portal: Requester, settings: Any) -> Any:
    settings.PKI_OPERATOR_EMAILS = [OPERATORS]
    Team.objects.update(email="web@example.com")
    twin_portal.team.refresh_from_db()
    person("carol", "security-team", email="carol@example.com")
    return person("alice", email="alice@example.com", team=twin_portal.team)


def owned_by(user: Any, certificate: Certificate) -> Certificate:
    Certificate.objects.filter(pk=certificate.pk).update(owner=user)
    certificate.refresh_from_db()
    return certificate


def to_night(clock: MovedClock, days: int) -> None:
    """So many days ahead, at the hour of the nightly run."""
    clock.move_to((clock.now + timedelta(days=days)).replace(hour=2))


def nights(clock: MovedClock, count: int) -> None:
    for _ in range(count):
        done = expiry.check_expiry(begin=False)
        walk([renewal.request.pk for renewal in done.renewed])
        clock.move(timedelta(days=1))


def reminders() -> list[OutgoingMail]:
    return list(OutgoingMail.objects.filter(dedup_key__startswith="reminder:").order_by("pk"))


def days_of_mails(certificate: Certificate) -> dict[str, list[int]]:
    """The days left, by recipient, on which a reminder went out."""
    found: dict[str, list[int]] = {}
    for mail in reminders():
        assert certificate.common_name in mail.body
        found.setdefault(mail.recipient, []).append((certificate.not_after.date() - mail.written_at.date()).days)
    return found


def test_circle_widens_as_the_end_comes_nearer(twin_portal: Requester, alice: Any, clock: MovedClock) -> None:
    """N4: the owner got one mail 30 days ahead and no reminder."""
    certificate = owned_by(alice, issued(brought("own.example.com"), twin_portal))
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 58)
    nights(clock, 40)
    told = days_of_mails(certificate)
    assert told["alice@example.com"] == [14, 7, 3, 1, 0, -1]  # at 30 days there is the mail with the command
    assert told["web@example.com"] == [7, 3, 1, 0, -1]
    assert told[OPERATORS] == [7, 3, 1, 0, -1]
    assert told["carol@example.com"] == [3, 1, 0, -1]
    (mail,) = OutgoingMail.objects.filter(topic="renewal-failed", recipient="alice@example.com")
    assert "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes" in mail.body
    assert "DNS:own.example.com" in mail.body
    assert "openssl req -new" in mail.html


def test_end_of_a_certificate_whose_renewal_is_off_is_reminded_of_until_it_ends(
    twin_portal: Requester, make_spec: MakeSpec, alice: Any, clock: MovedClock
) -> None:
    """K9."""
    certificate = owned_by(alice, issued(make_spec("old.example.com"), twin_portal))
    Certificate.objects.update(renewal_off_reason="the shop moves to the new platform")
    to_night(clock, 58)
    nights(clock, 40)
    assert days_of_mails(certificate)["alice@example.com"] == [30, 14, 7, 3, 1, 0]
    assert "the shop moves to the new platform" in reminders()[0].body
    assert not OperatorAlert.objects.filter(kind__in=("expiring", "expired")).exists()


def test_one_digest_for_each_person_and_day(twin_portal: Requester, make_spec: MakeSpec, alice: Any, clock: MovedClock) -> None:
    """N4: a second certificate of the same team was in no mail."""
    for number in range(3):
        owned_by(alice, issued(make_spec(f"n{number}.example.com"), twin_portal))
    Certificate.objects.update(renewal_off_reason="a test")
    to_night(clock, 83)
    for _ in range(2):
        expiry.check_expiry(begin=False)
    assert sorted(mail.recipient for mail in reminders()) == sorted({"alice@example.com", "web@example.com", OPERATORS})
    for mail in reminders():
        assert [f"n{number}.example.com" in mail.body for number in range(3)] == [True] * 3
        assert mail.subject == "Ends in 7 days: n0.example.com, n1.example.com and n2.example.com"
    owned_by(alice, issued(make_spec("late.example.com", days=1), twin_portal))
    Certificate.objects.filter(common_name="late.example.com").update(renewal_off_reason="a test", alert_at=clock.now)
    expiry.check_expiry(begin=False)
    assert len(reminders()) == 4  # the security team's first; the others had theirs today


def test_subject_of_a_digest_calls_expired_what_has_expired(
    twin_portal: Requester, make_spec: MakeSpec, alice: Any, clock: MovedClock
) -> None:
    for days, name in ((30, "gone"), (32, "soon"), (33, "later")):
        owned_by(alice, issued(brought(f"{name}.example.com", days=days), twin_portal))
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 31)
    expiry.check_expiry(begin=False)
    (mail,) = OutgoingMail.objects.filter(topic="expired", recipient="alice@example.com")
    assert mail.subject == "Expired: gone.example.com; 2 more end soon"
    assert all(f"{name}.example.com" in mail.body for name in ("gone", "soon", "later"))


@pytest.mark.parametrize("count", [2, 6])
def test_certificates_that_the_policy_stops_are_one_mail_a_person(
    twin_portal: Requester, alice: Any, clock: MovedClock, count: int
) -> None:
    """A new policy version that concerned 10,000 certificates would have been 20,000 mails; five were ten mails."""
    many = [owned_by(alice, issued(brought(f"host-{number}.example.com"), twin_portal)) for number in range(count)]
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 60)
    nights(clock, 2)
    (mail,) = OutgoingMail.objects.filter(recipient="alice@example.com", topic__in=("renewal-failed", "expiring"))
    assert mail.subject.startswith(f"Act by {many[0].not_after:%-d %b}: host-0.example.com")
    for certificate in many:
        assert certificate.common_name in mail.body
        assert f"DNS:{certificate.common_name}" in mail.body  # each with its own command
        assert f"DNS:{certificate.common_name}" in mail.html
    refusals = AuditEvent.objects.filter(event=EventType.CERTIFICATE_RENEWAL_REFUSED)
    assert refusals.count() == len(many)


def test_runs_of_a_day_mail_what_is_new_and_nothing_twice(
    twin_portal: Requester, make_spec: MakeSpec, alice: Any, twin_ca: TwinCAClient, clock: MovedClock
) -> None:
    """The same failure at each run of the quarter of an hour is one mail; another cause is another."""
    certificate = owned_by(alice, issued(make_spec("shop.example.com"), twin_portal))
    to_night(clock, 61)
    for reason in ("not in this mood", "not in this mood", "another reason"):
        twin_ca.refuses = ("ca_refused", reason)
        for _ in range(2):
            done = expiry.check_expiry(begin=False)
            walk([renewal.request.pk for renewal in done.renewed])
            clock.move(timedelta(minutes=15))
    expiry.renew_due(begin=False)
    mails = OutgoingMail.objects.filter(topic="renewal-failed", recipient="alice@example.com").order_by("pk")
    assert ["not in this mood" in mail.body for mail in mails] == [True, False]
    assert {mail.subject for mail in mails} == {"Renewal failed: shop.example.com (ends in 29 days)"}
    assert RenewalNotice.objects.filter(certificate=certificate).count() == 2


def test_run_that_broke_off_before_its_mails_loses_none(twin_portal: Requester, alice: Any, clock: MovedClock, monkeypatch: Any) -> None:
    owned_by(alice, issued(brought("own.example.com"), twin_portal))
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 61)
    with monkeypatch.context() as killed:
        killed.setattr(expiry, "NIGHTLY", ())
        expiry.check_expiry(begin=False)
    assert not OutgoingMail.objects.filter(topic="renewal-failed").exists()
    expiry.renew_due(begin=False)
    expiry.check_expiry(begin=False)
    assert OutgoingMail.objects.filter(topic="renewal-failed", recipient="alice@example.com").count() == 1


def test_mail_reads_the_names_of_its_certificates_together(twin_portal: Requester, alice: Any, clock: MovedClock, monkeypatch: Any) -> None:
    """Each certificate without a common name was a query of its own, in each mail."""
    for number in range(12):
        owned_by(alice, issued(brought(f"host-{number}.example.com"), twin_portal))
    Certificate.objects.update(common_name="")
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 84)
    with monkeypatch.context() as without_mails:
        without_mails.setattr(expiry, "NIGHTLY", ())
        expiry.check_expiry(begin=False)
    OutgoingMail.objects.all().delete()
    for write in (write_mails, remind, keep_expiry_alerts):
        with CaptureQueriesContext(connection) as captured:
            write(now=clock.now)
        mails = OutgoingMail.objects.all()
        assert mails
        assert all(f"host-{number}.example.com" in mail.body for mail in mails for number in range(10)), write
        read = [one for one in captured if one["sql"].startswith('SELECT "certs_certificaterequest"."id"')]
        assert 0 < len(read) <= 3, write  # of 12 certificates
        mails.delete()


def test_certificates_that_the_portal_renews_remind_nobody(
    twin_portal: Requester, make_spec: MakeSpec, alice: Any, clock: MovedClock
) -> None:
    for days in (7, 47):
        owned_by(alice, issued(make_spec(f"life-{days}.example.com", days=days), twin_portal))
    to_night(clock, 1)
    nights(clock, 40)
    assert Certificate.objects.count() == 2 + 8 + 1
    assert reminders() == []
    assert not OperatorAlert.objects.filter(kind__in=("expiring", "expired")).exists()


def test_certificate_with_the_same_names_replaces_the_old_one(twin_portal: Requester, alice: Any, clock: MovedClock) -> None:
    owned_by(alice, issued(brought("own.example.com"), twin_portal))
    other = owned_by(alice, issued(brought("other.example.com"), twin_portal))
    Certificate.objects.update(renewal_off_reason="their owner sends a new CSR")
    to_night(clock, 70)
    issued(brought("own.example.com"), twin_portal)
    nights(clock, 25)
    assert days_of_mails(other)["alice@example.com"] == [20, 14, 7, 3, 1, 0]
    assert all("own.example.com" not in mail.body for mail in reminders())


def test_mail_about_what_cannot_be_renewed_names_the_newer_certificate(twin_portal: Requester, alice: Any, clock: MovedClock) -> None:
    old = owned_by(alice, issued(brought("own.example.com"), twin_portal))
    other = owned_by(alice, issued(brought("other.example.com"), twin_portal))
    clock.move(timedelta(days=50))
    newer = issued(brought("own.example.com"), twin_portal)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 12)
    expiry.check_expiry(begin=False)
    mail = OutgoingMail.objects.get(topic="renewal-failed", recipient="alice@example.com")
    for text in (mail.body, mail.html):
        assert f"/certificates/{old.cert_id}/" in text
        assert text.count(newer.cert_id) >= 1
        assert f"/certificates/{other.cert_id}/" in text
    assert f"Newer: {newer.cert_id} has the same names" in mail.body
    assert mail.body.count("Newer: ") == 1
    assert "Otherwise: " in mail.body


def test_siblings_of_one_order_do_not_replace_each_other(twin_portal: Requester, alice: Any, clock: MovedClock) -> None:
    for _ in range(2):
        owned_by(alice, issued(brought("own.example.com"), twin_portal))
        clock.move(timedelta(seconds=5))
    Certificate.objects.update(renewal_off_reason="two servers")
    to_night(clock, 76)
    expiry.check_expiry(begin=False)
    (mail,) = reminders()
    assert mail.subject == "Ends in 14 days: own.example.com and 1 more"


def alert(kind: str) -> OperatorAlert | None:
    return OperatorAlert.objects.filter(kind=kind, closed_at=None).first()


def test_alert_of_an_expired_certificate_stays_open_until_it_is_replaced(twin_portal: Requester, alice: Any, clock: MovedClock) -> None:
    """N3: the alert closed itself on the day on which the certificate expired, and no mail came after that."""
    issued(brought("own.example.com"), twin_portal)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 85)
    nights(clock, 1)
    assert alert("expiring") is not None
    assert alert("expired") is None
    to_night(clock, 4)
    nights(clock, 3)
    to_night(clock, 50)
    nights(clock, 1)
    found = alert("expired")
    assert found is not None
    assert "own.example.com" in found.message
    assert alert("expiring") is None
    assert OutgoingMail.objects.filter(dedup_key=f"alert:{found.pk}").exists()
    issued(brought("own.example.com"), twin_portal)
    nights(clock, 1)
    assert alert("expired") is None


@pytest.mark.parametrize("way", ["named again", "renewed", "revoked", "switched off"])
def test_alert_closes_between_two_nights_when_its_last_certificate_is_dealt_with(
    twin_portal: Requester, alice: Any, clock: MovedClock, way: str
) -> None:
    first, second = (issued(brought(name), twin_portal) for name in ("one.example.com", "two.example.com"))
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 85)
    nights(clock, 1)
    request_revocation(first, reason=RevocationReason.SUPERSEDED, authority=Authority(SYSTEM), begin=False)
    assert (close_settled(), alert("expiring") is None) == (0, False)
    if way == "named again":
        issued(brought("two.example.com"), twin_portal)
    elif way == "renewed":
        again = issued(brought("other.example.com"), twin_portal)
        Certificate.objects.filter(pk=again.pk).update(renewed_from=second)
    elif way == "revoked":
        request_revocation(second, reason=RevocationReason.CESSATION_OF_OPERATION, authority=Authority(SYSTEM), begin=False)
    else:
        Certificate.objects.filter(pk=second.pk).update(renewal_off_reason="It ends.")
    assert (close_settled(), alert("expiring")) == (1, None)
    assert close_settled() == 0


def test_alert_about_what_ends_in_the_day_stays_until_the_night_finds_it_expired(
    twin_portal: Requester, alice: Any, clock: MovedClock
) -> None:
    issued(brought("own.example.com"), twin_portal)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 90)
    expiry.check_expiry(begin=False)
    clock.move(timedelta(hours=20))
    assert Certificate.objects.get().not_after < clock.now
    assert (close_settled(), alert("expiring") is None) == (0, False)
    to_night(clock, 1)
    expiry.check_expiry(begin=False)
    assert (alert("expiring"), alert("expired") is None) == (None, False)
    assert close_settled() == 0
    issued(brought("own.example.com"), twin_portal)
    assert (close_settled(), alert("expired")) == (1, None)


def test_no_open_alert_costs_one_query(twin_portal: Requester, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):  # the clock is the other one
        assert close_settled() == 0


def test_alert_that_a_person_closed_comes_back_for_others_only(twin_portal: Requester, alice: Any, clock: MovedClock) -> None:
    issued(brought("one.example.com", days=30), twin_portal)
    issued(brought("two.example.com", days=40), twin_portal)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    to_night(clock, 31)
    nights(clock, 1)
    first = alert("expired")
    assert first is not None
    operator = get_user_model().objects.create_superuser("olga", "olga@example.com", "x")
    close_by_hand(first.pk, authority=Authority(SYSTEM, operator))
    nights(clock, 3)
    assert alert("expired") is None
    to_night(clock, 7)
    nights(clock, 1)
    second = alert("expired")
    assert second is not None
    assert ("two.example.com" in second.message, "one.example.com" in second.message) == (True, False)


def test_renewal_under_way_is_no_alert_before_half_of_the_window_is_over(
    twin_portal: Requester, make_spec: MakeSpec, alice: Any, clock: MovedClock
) -> None:
    issued(make_spec("short.example.com", days=7), twin_portal)
    to_night(clock, 5)
    expiry.check_expiry(begin=False)  # begun, and not worked off
    assert (reminders(), alert("expiring")) == ([], None)
    to_night(clock, 2)
    expiry.check_expiry(begin=False)
    assert "has not ended" in reminders()[0].body
    assert alert("expiring") is not None


def test_renewed_certificate_is_silent_though_its_renewal_was_superseded_too(
    twin_portal: Requester, make_spec: MakeSpec, alice: Any, clock: MovedClock
) -> None:
    first = issued(make_spec("a.example.com", days=30), twin_portal)
    clock.move(timedelta(days=15))
    second = renewed(first)
    clock.move(timedelta(days=1))
    renewed(second)
    request_revocation(second, reason=RevocationReason.SUPERSEDED, authority=Authority(SYSTEM), begin=False)
    clock.move(timedelta(days=16))
    assert first.not_after < clock.now
    keep_expiry_alerts(now=clock.now)
    assert alert("expired") is None  # the third one is alive
