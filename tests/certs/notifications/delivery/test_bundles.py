"""Requests that fail together are one mail for each person, and none of them is lost or doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import F

from audit.log import Actor
from certs.models import CertificateRequest, OutgoingMail
from certs.notifications.delivery.bundles import AT_ONCE, PERIOD
from certs.notifications.delivery.bundling import write_bundles
from certs.notifications.delivery.mail import send_due, waiting
from certs.requests.exposure.key_blocks import block_key
from certs.requests.submit import Requester, submit_many
from certs.schedules.clean_up import delete_old_mails
from certs.spec import CertificateSpec
from db.clock import database_now
from keys.models import PublicKey
from tests.cast import person
from tests.certs.life import walk
from tests.certs.notifications.conftest import MailServer
from tests.portal.threads import in_thread
from tests.twins.ca import TwinCAClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

MANY = 14


@pytest.fixture
def fail(twin_portal: Requester, twin_ca: TwinCAClient, make_spec: Callable[..., CertificateSpec]) -> Callable[..., list[str]]:
    """Let requests of a person fail at the CA, each alone. Returns their ids."""
    twin_ca.refuses = ("ca_refused", "The CA takes no orders at present.")
    people: dict[str, Requester] = {}

    def of(name: str, number: int) -> list[str]:
        if name == "nobody":
            people[name] = twin_portal
        elif name not in people:
            user = person(name, email=f"{name}@example.com", team=twin_portal.team)
            people[name] = Requester(twin_portal.actor, twin_portal.team, "portal", user=user)
        specs = [make_spec(f"{name}-{n}.example.com") for n in range(number)]
        rows = [submit_many([spec], requester=people[name])[0] for spec in specs]
        for row in rows:
            walk([row.pk])
        return [row.public_id for row in rows]

    return of


def send() -> int:
    """Run as the schedule does: compose what goes together, then send."""
    write_bundles()
    return send_due()


def the_period_ends() -> None:
    waiting().update(not_before=database_now(), written_at=F("written_at") - PERIOD)


def found_in(server: MailServer, recipient: str) -> Counter[str]:
    """Count in how many mails to the recipient each request is named."""
    texts = [str(message.get_body(("plain",))) for message in server.messages if message["To"] == recipient]
    ids = CertificateRequest.objects.values_list("public_id", flat=True)
    return Counter({one: sum(f"/requests/{one}/" in text for text in texts) for one in ids if any(one in text for text in texts)})


def test_requests_that_fail_together_are_few_mails_and_each_request_is_in_exactly_one(mail_server: MailServer, fail: Any) -> None:
    hers, his = fail("alice", MANY), fail("bob", 2)
    send()
    assert Counter(mail_server.recipients) == {"alice@example.com": AT_ONCE, "bob@example.com": 2}
    the_period_ends()
    assert (send(), send()) == (1, 0)
    assert mail_server.recipients.count("alice@example.com") == AT_ONCE + 1
    last = mail_server.messages[-1]
    assert last["Subject"].startswith("Failed: alice-5.example.com, alice-6.example.com")
    assert last["Subject"].endswith(" more")
    assert last["Auto-Submitted"] == "auto-generated"
    text = str(last.get_body(("plain",)))
    assert f"{MANY - AT_ONCE} requests failed" in text
    assert text.count("The CA takes no orders at present.") == 1
    assert found_in(mail_server, "alice@example.com") == Counter(hers)
    assert found_in(mail_server, "bob@example.com") == Counter(his)
    assert waiting().count() == 0


def test_requests_that_belong_to_nobody_are_few_mails_to_the_operators(mail_server: MailServer, fail: Any, settings: Any) -> None:
    settings.PKI_OPERATOR_EMAILS = ["ops@example.com"]
    ids = fail("nobody", MANY)
    send()
    the_period_ends()
    send()
    assert mail_server.recipients == ["ops@example.com"] * (AT_ONCE + 1)
    assert found_in(mail_server, "ops@example.com") == Counter(ids)


def test_what_follows_waits_for_minutes_only(fail: Any) -> None:
    fail("alice", AT_ONCE + 1)
    *first, last = OutgoingMail.objects.order_by("pk")
    assert all(mail.not_before == mail.written_at for mail in first)
    assert timedelta(0) < last.not_before - last.written_at <= PERIOD
    # What fails after that is mailed at once again.
    OutgoingMail.objects.update(written_at=F("written_at") - PERIOD)
    fail("alice", 1)
    newest = OutgoingMail.objects.latest("pk")
    assert newest.not_before == newest.written_at


def test_mails_that_waited_for_the_mail_server_go_together(mail_server: MailServer, fail: Any) -> None:
    mail_server.stop()
    ids = fail("alice", MANY)
    for _ in range(3):
        send()
        the_period_ends()
    assert send() == 0
    mail_server.start()
    assert send() == len(mail_server.messages)
    assert len(mail_server.messages) <= 2
    assert found_in(mail_server, "alice@example.com") == Counter(ids)


def test_few_mails_stay_what_they_are(mail_server: MailServer, fail: Any) -> None:
    fail("alice", AT_ONCE)
    assert (write_bundles(), send_due()) == (0, AT_ONCE)
    assert {message["Subject"] for message in mail_server.messages} == {f"Failed: alice-{n}.example.com" for n in range(AT_ONCE)}


def test_two_that_were_held_back_go_together_and_one_alone_as_it_is(mail_server: MailServer, fail: Any) -> None:
    fail("alice", AT_ONCE + 2)
    fail("bob", AT_ONCE + 1)
    send()
    OutgoingMail.objects.filter(sent_at=None).update(written_at=F("written_at") - PERIOD, not_before=F("not_before") - PERIOD)
    send()
    last = {message["To"]: message["Subject"] for message in mail_server.messages[2 * AT_ONCE :]}
    assert last == {
        "alice@example.com": "Failed: alice-5.example.com and alice-6.example.com",
        "bob@example.com": "Failed: bob-5.example.com",
    }


def test_two_workers_compose_one_bundle(mail_server: MailServer, fail: Any) -> None:
    ids = fail("alice", MANY)
    the_period_ends()
    for thread in [in_thread(write_bundles) for _ in range(3)]:
        thread.join(20)
    assert OutgoingMail.objects.filter(bundled__isnull=False).distinct().count() == 1
    assert send_due() == 1
    assert found_in(mail_server, "alice@example.com") == Counter(ids)


def test_mail_that_a_worker_sends_at_this_moment_goes_alone(fail: Any) -> None:
    fail("alice", MANY)
    the_period_ends()
    claimed = waiting().earliest("pk")
    OutgoingMail.objects.filter(pk=claimed.pk).update(lease_until=database_now() + timedelta(minutes=1))
    assert write_bundles() == 1
    claimed.refresh_from_db()
    assert claimed.bundled_into is None
    assert OutgoingMail.objects.filter(bundled_into__isnull=False).count() == MANY - 1


def test_mails_of_a_bundle_go_with_it_when_they_are_old(fail: Any, settings: Any) -> None:
    """A part that lost its bundle would be sent, half a year later."""
    fail("alice", MANY)
    the_period_ends()
    write_bundles()
    OutgoingMail.objects.filter(bundled__isnull=False).update(written_at=F("written_at") - timedelta(days=settings.PKI_KEEP_MAILS_DAYS + 1))
    delete_old_mails()
    assert OutgoingMail.objects.count() == 0


def test_many_keys_that_are_blocked_at_once_are_few_mails(twin_portal: Requester, mail_server: MailServer) -> None:
    """A bulk revocation for key compromise sent each member of the security team a mail for each key."""
    officer, member = person("olive", "security officer", email="olive@example.com"), person("mel", email="mel@example.com")
    twin_portal.team.members.add(member)
    for number in range(MANY):
        with transaction.atomic():
            spki = f"{number:064x}"
            PublicKey.objects.create(spki_sha256=spki, team=twin_portal.team.slug, recorded_at=database_now())
            block_key(spki, team=twin_portal.team.slug, reason="revoked", now=database_now(), actor=Actor("user", "olive"))
    send()
    the_period_ends()
    send()
    for address, subject in ((officer.email, "Keys blocked: "), (member.email, "Replace now (keys blocked): ")):
        subjects = [mail["Subject"] for mail in mail_server.messages if mail["To"] == address]
        assert len(subjects) == AT_ONCE + 1, subjects
        assert subjects[-1].startswith(subject)
    bundle = OutgoingMail.objects.get(recipient=officer.email, dedup_key__startswith="bundle:")
    assert f"{MANY - AT_ONCE} public keys were blocked." in bundle.body
    assert "/alerts/" in bundle.body
