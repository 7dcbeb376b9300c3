"""A request that waits, was approved, refused or failed reaches the people whom it concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group

from certs.bulk.drafting.draft import draft
from certs.bulk.submit import submit_order
from certs.enums import RevocationReason
from certs.models import ApprovalLimit, CertificateRequest, DigestEntry, OutgoingMail
from certs.notifications.choices import choose
from certs.notifications.digests import announce, write_due_digests
from certs.notifications.topics import Topic
from certs.notifications.wording import minute, short_day
from certs.requests.approvals.approval import approve, reject
from certs.requests.submit import Requester, submit
from certs.revocation.request import request_revocation
from certs.spec import CertificateSpec
from certs.uploads.line import Line
from tests.cast import person
from tests.certs.bulk.orders import work_off_all
from tests.certs.life import issued, walk
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def alice(twin_portal: Requester) -> Requester:
    user = person("alice", email="alice@example.com", team=twin_portal.team)
    return Requester(twin_portal.actor, twin_portal.team, "portal", user=user)


@pytest.fixture
def carol(db: None) -> Any:
    return person("carol", "approver", email="carol@example.com")


def mails(topic: Topic) -> list[OutgoingMail]:
    return list(OutgoingMail.objects.filter(topic=topic).order_by("pk"))


def waiting(make_spec: MakeSpec, requester: Requester) -> CertificateRequest:
    request = submit(make_spec("*.example.com"), requester=requester)
    walk([request.pk])
    return CertificateRequest.objects.get(pk=request.pk)


def test_request_that_waits_is_mailed_to_those_who_may_decide(alice: Requester, carol: Any, make_spec: MakeSpec) -> None:
    alice.user.groups.add(Group.objects.get(name="approver"))
    request = waiting(make_spec, alice)
    (mail,) = mails(Topic.APPROVAL)  # not to alice: nobody decides a request of their own
    assert (mail.recipient, mail.reply_to) == ("carol@example.com", "alice@example.com")
    until = ApprovalLimit.objects.get(request=request).lapses_at
    assert mail.subject == f"Approve or reject by {short_day(until)}: *.example.com for team Web"
    assert f"Until:        {minute(until)}; then the request lapses" in mail.body
    assert f"{minute(until)}; then the request lapses" in mail.html
    assert f"/requests/{request.public_id}/" in mail.body
    assert f"/requests/{request.public_id}/" in mail.html


def test_decision_is_mailed_to_the_requester(alice: Requester, carol: Any, make_spec: MakeSpec) -> None:
    first, second = waiting(make_spec, alice), waiting(make_spec, alice)
    approve(first, user=carol, digest=first.digest)
    reject(second, user=carol, digest=second.digest, comment="Use single names.")
    approved, refused = mails(Topic.DECISION)
    assert {approved.recipient, refused.recipient} == {"alice@example.com"}
    assert (approved.subject, refused.subject) == ("Approved: *.example.com", "Refused: *.example.com")
    assert "approved by carol" in approved.body
    assert "Use single names." in refused.body


def test_request_that_fails_is_mailed_with_the_reason(alice: Requester, twin_ca: TwinCAClient, make_spec: MakeSpec) -> None:
    twin_ca.refuses = ("ca_refused", "not in this mood")
    request = submit(make_spec("a.example.com"), requester=alice)
    walk([request.pk])
    (mail,) = mails(Topic.DECISION)
    assert mail.subject == "Failed: a.example.com"
    assert "not in this mood" in mail.body


def test_topic_that_is_switched_off_is_not_mailed_and_others_are(alice: Requester, carol: Any, make_spec: MakeSpec) -> None:
    choose(alice.user, [topic for topic in Topic if topic is not Topic.DECISION])
    request = waiting(make_spec, alice)
    approve(request, user=carol, digest=request.digest)
    assert mails(Topic.DECISION) == []
    assert len(mails(Topic.APPROVAL)) == 1


def test_one_certificate_is_one_mail_to_its_owner(alice: Requester, make_spec: MakeSpec) -> None:
    certificate = issued(make_spec("a.example.com"), alice)
    announce()
    assert (write_due_digests(), write_due_digests()) == (1, 0)
    (mail,) = mails(Topic.ISSUED)
    assert (mail.recipient, mail.subject) == ("alice@example.com", "Ready: a.example.com")
    assert f"/certificates/{certificate.cert_id}/" in mail.html


def test_certificate_for_a_program_waits_for_the_mail_of_the_day(alice: Requester, make_spec: MakeSpec) -> None:
    issued(make_spec("a.example.com"), Requester(alice.actor, alice.team, "api", user=alice.user))
    announce()
    assert write_due_digests() == 0
    assert DigestEntry.objects.get().topic == Topic.ISSUED_BY_PROGRAM


def test_lines_of_a_bulk_order_write_one_mail_to_approvers_and_none_each(alice: Requester, carol: Any, make_spec: MakeSpec) -> None:
    lines = [Line(n, f"row {n}", make_spec(f"*.{n}.example.com")) for n in (1, 2)]
    lines.append(Line(3, "row 3", make_spec("c.example.com")))
    order = submit_order(draft(lines, requester=alice, title="migration"), authority=alice.authority)
    work_off_all()
    (mail,) = mails(Topic.APPROVAL)
    assert mail.subject == "Approve or reject: lines of the bulk order migration"
    assert order.public_id in mail.body
    assert DigestEntry.objects.count() == 0


def test_revocation_is_mailed_with_who_and_why_and_cannot_be_switched_off(alice: Requester, make_spec: MakeSpec) -> None:
    choose(alice.user, [])
    certificate = issued(make_spec("a.example.com"), alice)
    request_revocation(
        certificate,
        reason=RevocationReason.KEY_COMPROMISE,
        authority=alice.authority,
        begin=False,
    )
    announce()
    write_due_digests()
    (mail,) = mails(Topic.REVOKED)
    assert (mail.recipient, mail.subject) == ("alice@example.com", "Revoked: a.example.com")
    assert "keyCompromise, by alice" in mail.body
    assert mails(Topic.ISSUED) == []
