"""Many certificates of a night are one mail for each person; choices are respected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils.html import escape

from audit.log import Actor
from certs.models import Certificate, DigestEntry, MailChoice, OutgoingMail
from certs.notifications import digests
from certs.notifications.digests import announce, note_for_digest, write_due_digests
from certs.notifications.topics import Topic
from certs.requests.drafts import DraftFields, attach_csr, begin, plan_of, submit_draft
from certs.requests.plan import plan_digest
from certs.requests.submit import Requester
from certs.servers.kinds import server_named
from certs.servers.snippets import snippet
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.api.test_issue import pem_csr
from tests.certs.life import issued, walk

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture
def alice(twin_portal: Requester) -> Any:
    return person("alice", email="alice@example.com", team=twin_portal.team)


@pytest.fixture
def renewed(twin_portal: Requester, alice: Any, make_spec: MakeSpec) -> list[Certificate]:
    rows = [issued(make_spec(f"{name}.example.com"), twin_portal) for name in "abc"]
    Certificate.objects.update(owner=alice)
    DigestEntry.objects.all().delete()  # of their issuance
    return rows


def compose() -> int:
    """As the task does."""
    announce()
    return write_due_digests()


def at(moment: datetime, hour: int) -> datetime:
    return moment.replace(hour=hour, minute=0, second=0, microsecond=0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    def move(moment: datetime) -> None:
        monkeypatch.setattr(digests, "database_now", lambda: moment)

    return move


def test_renewals_of_a_night_are_one_mail_in_the_morning(renewed: list[Certificate], clock: Callable[[datetime], None]) -> None:
    night = at(database_now(), 2)
    for number, certificate in enumerate(renewed):
        with transaction.atomic():
            note_for_digest(Topic.RENEWED, [certificate], now=night + timedelta(hours=number))
    clock(at(night, 5))
    assert compose() == 0
    clock(at(night, 6) + timedelta(seconds=9))
    assert compose() == 1
    mail = OutgoingMail.objects.get(topic=Topic.RENEWED)
    assert (mail.recipient, DigestEntry.objects.count()) == ("alice@example.com", 0)
    assert "3 certificates renewed" in mail.body
    assert all(f"{name}.example.com" in mail.body for name in "abc")
    assert all(f"{name}.example.com" in mail.html for name in "abc")
    clock(at(night, 7))
    assert compose() == 0


def test_digest_of_a_day_on_which_nothing_ran_is_written_later(renewed: list[Certificate], clock: Callable[[datetime], None]) -> None:
    night = at(database_now(), 2)
    with transaction.atomic():
        note_for_digest(Topic.RENEWED, renewed, now=night)
    clock(at(night, 1) + timedelta(days=3))
    assert compose() == 1


def test_subject_says_by_when_to_install_and_what(renewed: list[Certificate], clock: Callable[[datetime], None]) -> None:
    old = renewed[0]
    Certificate.objects.filter(pk=renewed[1].pk).update(renewed_from=old)
    night = at(old.not_after, 2) - timedelta(days=28)
    with transaction.atomic():
        note_for_digest(Topic.RENEWED, [Certificate.objects.get(pk=renewed[1].pk)], now=night)
    clock(at(night, 7))
    compose()
    subject = OutgoingMail.objects.get(topic=Topic.RENEWED).subject
    end = old.not_after
    assert subject == f"Install by {end.day} {end:%b}: b.example.com (in 28 days)"


def test_long_digest_lists_the_most_urgent_and_counts_the_others(
    renewed: list[Certificate],
    clock: Callable[[datetime], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digests, "LINES", 1)
    soonest = renewed[2]
    Certificate.objects.filter(pk=soonest.pk).update(not_after=soonest.not_after - timedelta(days=40))
    now = database_now()
    with transaction.atomic():
        note_for_digest(Topic.ISSUED, renewed, now=now)
    clock(now)
    compose()
    mail = OutgoingMail.objects.get(topic=Topic.ISSUED)
    assert mail.subject == "Ready: c.example.com and 2 more"
    assert "And 2 more certificates" in mail.body
    assert "a.example.com" not in mail.body


def test_topic_that_a_person_switched_off_is_not_mailed_to_that_person(
    renewed: list[Certificate], alice: Any, clock: Callable[[datetime], None]
) -> None:
    bob = person("bob", email="bob@example.com")
    renewed[0].team.members.add(bob)
    MailChoice.objects.create(user=alice, topic=Topic.RENEWED, wanted=False)
    now = database_now()
    with transaction.atomic():
        note_for_digest(Topic.RENEWED, renewed, now=now)
    clock(now + timedelta(days=1))
    compose()
    assert set(OutgoingMail.objects.values_list("recipient", flat=True)) == {"bob@example.com"}


def test_mail_about_one_certificate_has_the_steps_of_its_server(twin_portal: Requester, alice: Any) -> None:
    """The same text as on the page of the request."""
    requester = replace(twin_portal, user=alice, actor=Actor("user", "alice"))
    fields = DraftFields(place="server", server="haproxy", names="shop.example.com")
    draft = attach_csr(begin(fields, requester=requester), pem_csr("shop.example.com").encode(), requester=requester)
    shown = plan_digest(plan_of(draft, requester=requester).specs)
    request = submit_draft(draft, shown=shown, why="", requester=requester)
    walk([request.pk])
    assert compose() == 1
    mail = OutgoingMail.objects.get(topic=Topic.ISSUED)
    server = server_named("haproxy")
    assert server is not None
    for step in snippet(server, ["shop.example.com"]).steps:
        assert step.text in mail.body
        assert escape(step.text) in mail.html
    certificate = Certificate.objects.get(request=request)
    assert f"/certificates/{certificate.cert_id}/install/" in mail.body
    assert f'/certificates/{certificate.cert_id}/install/"' in mail.html


@pytest.mark.parametrize("topic", [Topic.ISSUED, Topic.RENEWED])
def test_mail_about_a_key_in_the_vault_does_not_ask_to_put_it_on_a_server(
    topic: Topic, renewed: list[Certificate], alice: Any, clock: Callable[[datetime], None]
) -> None:
    """A key in the vault cannot be installed: the mail says what the page says."""
    assert renewed[0].key_id is not None
    now = database_now()
    with transaction.atomic():
        note_for_digest(topic, renewed[:1], now=now)
    clock(now + timedelta(days=1))
    compose()
    mail = OutgoingMail.objects.filter(topic=topic)[0]
    for text in (mail.body, mail.html):
        assert "in the vault" in " ".join(text.split())
        assert "reload the server" not in text
