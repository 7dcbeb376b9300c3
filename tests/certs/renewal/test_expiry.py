"""The nightly run: what is due is renewed once, in batches by deadline; whoever must do something is told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from certs.access.permissions import Authority
from certs.enums import RequestState as S
from certs.enums import RevocationReason as R
from certs.models import Certificate, CertificateRequest, DigestEntry, Issuer, OperatorAlert, OutgoingMail
from certs.notifications.topics import Topic
from certs.renewal import expiry
from certs.renewal.renew import renew
from certs.requests.approvals import approval
from certs.requests.submit import Requester, submit_many
from certs.revocation.revoke import revoke
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.life import PORTAL, SYSTEM, brought, events_of, finished, issued, new_policy, renewed, walk, years_later
from tests.certs.renewal.test_renew import acting
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


def member(portal: Requester) -> Any:
    """A member of the team."""
    return person("alice", email="alice@example.com", team=portal.team)


def nightly() -> expiry.Checked:
    done = expiry.check_expiry(begin=False)
    walk([renewal.request.pk for renewal in (*done.renewed, *done.asking)])
    return done


def mails(topic: Topic = Topic.RENEWAL_FAILED) -> list[OutgoingMail]:
    return list(OutgoingMail.objects.filter(topic=topic, dedup_key__startswith="renewal:").order_by("pk"))


def test_due_certificates_are_renewed_once_the_most_urgent_first(
    twin_portal: Requester, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "CHUNK", 2)
    days = {"a": 20, "b": 3, "c": 29, "d": 31, "e": 10}
    for name, left in days.items():
        years_later(issued(make_spec(f"{name}.example.com"), twin_portal), days_left=left)
    done = nightly()
    assert [r.plan.spec.common_name[0] for r in done.renewed] == ["b", "e", "a", "c"]
    assert {one["state"] for one in done.result()["renewed"]} == {S.COMPLETED}
    assert all(one["renewed_by"] for one in done.result()["renewed"])
    again = nightly()
    assert (again.renewed, again.refused, again.checked) == ([], [], 1)  # d is looked at: an approval would be asked by now
    assert Certificate.objects.count() == len(days) + 4
    assert DigestEntry.objects.filter(topic="renewed").count() == 4


def test_short_lived_certificate_is_due_at_a_third_of_its_life(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = years_later(issued(make_spec(days=9), twin_portal), days_left=4)
    assert nightly().renewed == []
    years_later(certificate, days_left=2)
    assert len(nightly().renewed) == 1


def test_long_expired_and_revoked_certificates_are_left_alone(twin_portal: Requester, make_spec: MakeSpec) -> None:
    years_later(issued(make_spec("a.example.com"), twin_portal), days_left=-31)
    for name, reason in (("b.example.com", R.SUPERSEDED), ("c.example.com", R.CERTIFICATE_HOLD)):
        certificate = years_later(issued(make_spec(name), twin_portal), days_left=5)
        revoke(certificate, reason=reason, authority=PORTAL, begin=False)
    done = nightly()
    assert (done.checked, done.renewed) == (0, [])


@pytest.mark.parametrize("run", [expiry.check_expiry, expiry.renew_due])
def test_what_expired_in_an_outage_is_renewed_unless_a_person_is_needed_or_has_replaced_it(
    twin_portal: Requester, make_spec: MakeSpec, run: Any
) -> None:
    wanted = [years_later(issued(make_spec(f"n{days}.example.com"), twin_portal), days_left=-days) for days in (20, 3)]
    for name, blocked in (("off", "off"), ("csr", "needs_csr"), ("policy", "policy")):
        one = years_later(issued(make_spec(f"{name}.example.com"), twin_portal), days_left=-3)
        Certificate.objects.filter(pk=one.pk).update(renewal_blocked=blocked, renewal_off_reason="moved" if name == "off" else "")
    years_later(issued(make_spec("again.example.com"), twin_portal), days_left=-3)
    issued(make_spec("again.example.com"), twin_portal)  # its owner requested a new one
    done = run(begin=False)
    assert [one.plan.certificate.pk for one in done.renewed] == [one.pk for one in wanted]
    assert run(begin=False).renewed == []


def test_stricter_policy_is_told_to_the_owner_once_a_version(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=20)
    member(twin_portal)
    for version, curves in (("v2.4", [384]), ("v2.4", None), ("v2.5", [521])):
        if curves:
            new_policy(version, allowed_keys={"rsa": {"min_bits": 3072}, "ec": curves})
        done = nightly()
        assert [plan.certificate for plan in done.refused] == [certificate]
    first, second = mails()
    assert (first.recipient, second.recipient) == ("alice@example.com", "alice@example.com")
    assert "Curve P-256 is not allowed" in first.body
    assert "Use curve P-384" in first.body
    assert "Use curve P-521" in second.body
    assert events_of(certificate) == ["certificate:renewal_refused"] * 2
    assert CertificateRequest.objects.count() == 1


def test_key_past_its_limit_is_rotated_by_the_schedule(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=20)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": True, "max_certificates": 1})
    (renewal,) = nightly().renewed
    assert "A new key is made" in renewal.plan.notes[0]
    assert renewal.request.key_reused is False
    assert Certificate.objects.get(request=renewal.request).spki_sha256 != certificate.spki_sha256


def test_brought_csr_is_renewed_or_asked_for_once(twin_portal: Requester) -> None:
    fine = years_later(issued(brought("fine.example.com"), twin_portal), days_left=20)
    assert [r.plan.certificate for r in nightly().renewed] == [fine]
    used_up = years_later(issued(brought("used.example.com"), twin_portal), days_left=20)
    new_policy("v2.4", key_reuse_at_renewal={"allowed": False})
    for _ in range(2):
        done = nightly()
        assert [plan.certificate for plan in done.needs_csr] == [used_up]
        assert done.result()["asked"][0]["for"] == "csr"
    (mail,) = mails()
    assert "send a new CSR" in mail.body


def test_approval_is_asked_45_days_ahead_and_only_where_none_is_inherited(twin_portal: Requester, make_spec: MakeSpec) -> None:
    carol = person("carol", "security-team", email="carol@example.com")
    requester = Requester(SYSTEM, twin_portal.team, "portal", user=member(twin_portal))
    certificates = []
    for name in ("*.a.example.com", "*.b.example.com"):
        (request,) = submit_many([make_spec(name, days=300)], requester=requester)
        walk([request.pk])
        request.refresh_from_db()
        approval.approve(request, user=carol, digest=request.digest)
        walk([request.pk])
        certificates.append(years_later(Certificate.objects.get(request=request), days_left=44))
    new_policy("v2.4", max_validity={"days": 200})  # shortened, so another content: no approval is inherited
    CertificateRequest.objects.filter(pk=certificates[1].request_id).update(validity_days=200)  # as if it had been 200 all along
    done = nightly()
    assert [r.plan.certificate for r in done.asking] == [certificates[0]]
    assert done.renewed == []
    (mail,) = mails(Topic.APPROVAL)
    assert mail.recipient == "carol@example.com"
    assert done.result()["asked"][0]["for"] == "approval"
    waiting = CertificateRequest.objects.get(renewed_from=certificates[0])
    assert waiting.state == S.AWAITING_APPROVAL
    years_later(certificates[1], days_left=29)
    assert [r.plan.certificate for r in nightly().renewed] == [certificates[1]]


def test_failed_renewal_is_tried_again_and_told(twin_portal: Requester, make_spec: MakeSpec, twin_ca: TwinCAClient, settings: Any) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=20)
    twin_ca.refuses = ("ca_refused", "not in this mood")
    nightly()
    assert CertificateRequest.objects.get(renewed_from=certificate).state == S.FAILED
    twin_ca.refuses = None
    (second,) = nightly().renewed
    assert CertificateRequest.objects.get(pk=second.request.pk).state == S.COMPLETED
    told = {mail.recipient for mail in mails()}
    assert told == set(settings.PKI_OPERATOR_EMAILS)


def test_ca_that_issues_no_more_and_has_no_successor_is_said_before_anything_is_begun(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=20)
    Issuer.objects.update(state="revocation_only")
    (plan,) = nightly().refused
    assert (plan.certificate.pk, "no CA has taken over from it" in plan.reason) == (certificate.pk, True)
    assert not CertificateRequest.objects.filter(renewed_from=certificate).exists()


def test_renewal_that_a_person_cancelled_is_not_begun_again(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=20)
    renewal = renew(certificate, authority=acting(member(twin_portal)), channel="portal", begin=False)
    approval.cancel(renewal.request, authority=Authority(SYSTEM))
    assert nightly().renewed == []
    assert finished(renew(certificate, authority=PORTAL, channel="command", begin=False)).state == S.COMPLETED


def test_what_is_left_in_its_last_week_is_an_alert_until_it_is_renewed(twin_portal: Requester, make_spec: MakeSpec) -> None:
    certificate = years_later(issued(make_spec(), twin_portal), days_left=5)
    new_policy("v2.4", allowed_keys={"rsa": {"min_bits": 3072}, "ec": [384]})
    nightly()
    alert = OperatorAlert.objects.get(kind="expiring")
    assert certificate.common_name in alert.message
    new_policy("v2.5")
    nightly()
    nightly()
    alert.refresh_from_db()
    assert alert.closed_at is not None


def test_superseded_certificates_are_revoked_after_the_overlap(twin_portal: Requester, make_spec: MakeSpec, settings: Any) -> None:
    old, young = (issued(make_spec(name), twin_portal) for name in ("a.example.com", "b.example.com"))
    Certificate.objects.filter(pk=renewed(old).pk).update(issued_at=database_now() - timedelta(days=8))
    renewed(young)
    assert nightly().superseded_revoked == 0
    settings.PKI_REVOKE_SUPERSEDED_AFTER_DAYS = 7
    assert [nightly().superseded_revoked, nightly().superseded_revoked] == [1, 0]
    old.refresh_from_db()
    assert (old.status, old.revocation.reason) == (Certificate.Status.REVOCATION_PENDING, R.SUPERSEDED)
