"""Webhooks: signed, tried again, each alone, and never to an address that is not allowed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from ipaddress import ip_network
from typing import Any, Self

import pytest
from django.db import transaction
from django.db.models import F

from audit.log import Actor
from audit.models import AuditEvent
from certs.access.permissions import Authority
from certs.errors import Conflict, InputRefused, NotPermitted
from certs.models import Certificate, DigestEntry, OperatorAlert, OutgoingMail, Team, Webhook, WebhookDelivery
from certs.notifications import webhooks
from certs.notifications.audience import to_addresses
from certs.notifications.delivery import deliver
from certs.notifications.delivery.deliver import deliver_due
from certs.notifications.delivery.targets import check_target, parse_target
from certs.notifications.digests import announce, note_for_digest
from certs.notifications.notices import notify
from certs.notifications.topics import Topic
from certs.requests.submit import Requester
from certs.spec import CertificateSpec
from db.clock import database_now
from tests.cast import person
from tests.certs.life import issued
from tests.certs.notifications.receivers import Receiver, receiving
from tests.faults.dripping import dripping, flooding

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
MakeSpec = Callable[..., CertificateSpec]


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.PKI_WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.PKI_WEBHOOK_ALLOW_HTTP = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def authority(twin_portal: Requester) -> Authority:
    user = person("alice", email="alice@example.com", team=twin_portal.team)
    return Authority(Actor("user", "alice"), user)


Add = Callable[..., Webhook]


@pytest.fixture
def add(twin_portal: Requester, authority: Authority) -> Add:
    def make(url: str, name: str = "bot", topics: tuple[Topic, ...] = (Topic.RENEWED,)) -> Webhook:
        return webhooks.add_webhook(twin_portal.team, name=name, url=url, topics=topics, authority=authority)

    return make


def notice(certificate: Certificate, topic: Topic = Topic.RENEWED) -> None:
    now = database_now()
    with transaction.atomic():
        notify(
            topic,
            key=f"test:{certificate.pk}",
            audience=to_addresses(["ann@example.com"]),
            subject="Renewed",
            template="domain_lost",
            context={"team": certificate.team, "name": "x", "by": "carol", "at": now},
            now=now,
            certificates=[certificate],
        )


def due_again() -> None:
    WebhookDelivery.objects.update(not_before=database_now() - timedelta(seconds=1))


def test_notice_about_a_certificate_arrives_signed_with_its_names_and_link(
    add: Add, receiver: Receiver, twin_portal: Requester, make_spec: MakeSpec
) -> None:
    hook = add(receiver.url)
    certificate = issued(make_spec("shop.example.com"), twin_portal)
    notice(certificate)
    assert deliver_due() == 1
    (message,) = receiver.verified(webhooks.secret_of(hook))
    assert (message["type"], message["data"]["team"]) == ("certificate.renewed", "web")
    (one,) = message["data"]["certificates"]
    assert (one["cert_id"], one["names"], one["state"]) == (certificate.cert_id, ["shop.example.com"], "valid")
    assert one["link"].endswith(f"/certificates/{certificate.cert_id}/")
    assert deliver_due() == 0


def test_notice_that_is_written_twice_is_one_message(add: Add, twin_portal: Requester, make_spec: MakeSpec) -> None:
    add("http://127.0.0.1/hook")
    first, second = (issued(make_spec(f"{name}.example.com"), twin_portal) for name in "ab")
    notice(first)
    notice(first)
    assert WebhookDelivery.objects.count() == 1
    notice(second)
    assert WebhookDelivery.objects.count() == 2


def test_renewals_of_a_night_reach_webhooks_in_messages_of_many(
    add: Add, receiver: Receiver, twin_portal: Requester, make_spec: MakeSpec
) -> None:
    add(receiver.url)
    rows = [issued(make_spec(f"{name}.example.com"), twin_portal) for name in "ab"]
    DigestEntry.objects.all().delete()  # of their issuance
    with transaction.atomic():
        note_for_digest(Topic.RENEWED, rows, now=database_now())
    assert (announce(), announce()) == (2, 0)
    assert deliver_due() == 1
    (message,) = receiver.messages()
    assert [one["names"] for one in message["data"]["certificates"]] == [
        ["a.example.com"],
        ["b.example.com"],
    ]


def test_other_topics_and_other_teams_reach_no_webhook(add: Add, receiver: Receiver, twin_portal: Requester, make_spec: MakeSpec) -> None:
    add(receiver.url)
    certificate = issued(make_spec(), twin_portal)
    notice(certificate, Topic.REVOKED)
    certificate.team = Team.objects.create(slug="other", name="Other")
    notice(certificate)
    assert WebhookDelivery.objects.count() == 0


def test_receiver_that_fails_gets_the_same_message_again_and_holds_up_no_other(
    add: Add, receiver: Receiver, twin_portal: Requester, make_spec: MakeSpec
) -> None:
    with receiving() as broken:
        broken.status = 500
        bad = add(broken.url, "bad")
        add(receiver.url, "good")
        for name in "ab":
            notice(issued(make_spec(f"{name}.example.com"), twin_portal))
        assert deliver_due() == 2
        assert (len(broken.bodies), len(receiver.bodies)) == (1, 2)
        waits = WebhookDelivery.objects.filter(webhook=bad).order_by("pk")
        first, second = waits
        assert (first.tries, first.last_status, first.last_error) == (1, 500, "it returned status 500")
        assert min(first.not_before, second.not_before) > database_now()
        assert Webhook.objects.filter(failing_since__isnull=False).get() == bad
        broken.status = 200
        due_again()
        assert deliver_due() == 2
        ids = [headers["webhook-id"] for headers in broken.headers]
        assert ids == [first.message_id, first.message_id, second.message_id]
        assert len(broken.verified(webhooks.secret_of(bad))) == 3
        assert not Webhook.objects.filter(failing_since__isnull=False).exists()


def test_message_is_given_up_after_its_pauses_and_can_be_sent_again(add: Add, receiver: Receiver, authority: Authority) -> None:
    receiver.status = 500
    hook = add(receiver.url)
    webhooks.send_test(hook, authority=authority)
    for _ in range(len(deliver.PAUSES) + 1):
        due_again()
        deliver_due()
    one = WebhookDelivery.objects.get()
    assert (one.tries, one.given_up_at is not None) == (10, True)
    due_again()
    deliver_due()
    assert len(receiver.bodies) == 10
    receiver.status = 200
    webhooks.send_again(hook, one.message_id, authority=authority)
    assert deliver_due() == 1
    assert receiver.headers[-1]["webhook-id"] == one.message_id


@pytest.mark.parametrize(("status", "days"), [(500, 6), (410, 0)])
def test_webhook_that_fails_for_days_or_is_gone_is_disabled_with_an_alert_and_a_notice(
    add: Add, receiver: Receiver, authority: Authority, status: int, days: int
) -> None:
    receiver.status = status
    hook = add(receiver.url)
    webhooks.send_test(hook, authority=authority)
    Webhook.objects.update(failing_since=database_now() - timedelta(days=days))
    assert deliver_due() == 0
    hook.refresh_from_db()
    assert hook.disabled_at is not None
    assert OperatorAlert.objects.get(closed_at=None).cause == f"webhook:{hook.pk}"
    mail = OutgoingMail.objects.get(subject__contains="was disabled", topic=Topic.POWER)
    assert mail.recipient == "alice@example.com"
    due_again()
    deliver_due()
    assert len(receiver.bodies) == 1
    with pytest.raises(Conflict):
        webhooks.send_test(hook, authority=authority)
    receiver.status = 200
    webhooks.enable_webhook(hook, authority=authority)
    due_again()
    assert deliver_due() == 1
    assert not OperatorAlert.objects.filter(closed_at=None).exists()
    events = AuditEvent.objects.filter(event="webhook:changed").order_by("pk")
    assert [event.actor_name for event in events] == ["webhooks", "alice"]


def test_redirect_is_not_followed(add: Add, receiver: Receiver, authority: Authority) -> None:
    with receiving() as inside:
        receiver.status, receiver.location = 307, inside.url
        webhooks.send_test(add(receiver.url), authority=authority)
        assert deliver_due() == 0
        assert inside.bodies == []
    assert WebhookDelivery.objects.get().last_error == "redirects are not followed"


def test_receiver_that_drips_its_reply_ends_in_time(add: Add, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "SECONDS", 0.4)
    with dripping(10) as url:
        webhooks.send_test(add(url), authority=authority)
        assert deliver_due() == 0
    assert "no complete reply" in WebhookDelivery.objects.get().last_error


def test_reply_of_a_gigabyte_is_not_read(add: Add, authority: Authority) -> None:
    """Only its status is of use."""
    with flooding() as (url, sent):
        webhooks.send_test(add(url), authority=authority)
        assert deliver_due() == 1
        assert len(sent) == 1
        assert sent[0] < 20_000_000  # what fits into the buffers of the two machines


def test_worker_whose_clock_is_wrong_signs_with_the_time_of_the_database(
    add: Add, receiver: Receiver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers refuse a message whose time is five minutes off (standardwebhooks.com)."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(minutes=10)

    monkeypatch.setattr(deliver, "datetime", Ahead)
    hook = add(receiver.url)
    webhooks.send_test(hook, authority=authority)
    assert deliver_due() == 1
    assert len(receiver.verified(webhooks.secret_of(hook))) == 1


def test_closed_port_is_a_failure_like_any_other(add: Add, authority: Authority) -> None:
    with receiving() as gone:
        url = gone.url
    webhooks.send_test(add(url), authority=authority)
    assert deliver_due() == 0
    assert "connection failed" in WebhookDelivery.objects.get().last_error


def test_name_that_gets_another_address_later_is_checked_anew(add: Add, receiver: Receiver, authority: Authority, settings: Any) -> None:
    """DNS rebinding: the address is allowed when the webhook is added, and not when it is used."""
    webhooks.send_test(add(receiver.url), authority=authority)
    settings.PKI_WEBHOOK_NETWORKS = [ip_network("192.0.2.0/24")]
    assert deliver_due() == 0
    assert receiver.bodies == []
    assert "may not send" in WebhookDelivery.objects.get().last_error


def test_connection_goes_to_the_address_that_was_checked(
    add: Add, receiver: Receiver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up of the name could lead elsewhere: there is none."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    asked: list[str] = []

    def look_up(host: str, *_args: Any, **_more: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    hook = add(f"http://hooks.example.com:{port}/hook")
    webhooks.send_test(hook, authority=authority)
    assert deliver_due() == 1
    assert receiver.headers[0]["host"] == f"hooks.example.com:{port}"
    assert [host for host in asked if host != "127.0.0.1"] == ["hooks.example.com"]


def test_ipv4_address_in_ipv6_form_is_no_way_around(settings: Any) -> None:
    settings.PKI_WEBHOOK_NETWORKS = [ip_network("::/1")]
    with pytest.raises(InputRefused):
        check_target("http://[::ffff:127.0.0.1]/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http://",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1/?token=secret",
        "http://127.0.0.1/#x",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://[::1/",
        "http://127.0.0.1/" + "a" * 500,
        "//127.0.0.1/",
        "",
    ],
)
def test_address_that_no_webhook_may_have_is_refused_by_name(add: Add, url: str) -> None:
    with pytest.raises(InputRefused) as refused:
        add(url)
    assert refused.value.field == "url"
    assert Webhook.objects.count() == 0


def test_https_is_needed_unless_the_operators_allow_http(settings: Any) -> None:
    settings.PKI_WEBHOOK_ALLOW_HTTP = False
    with pytest.raises(InputRefused):
        parse_target("http://127.0.0.1/")
    assert parse_target("https://127.0.0.1/").port == 443


def test_without_networks_nobody_can_add_a_webhook(add: Add, settings: Any) -> None:
    settings.PKI_WEBHOOK_NETWORKS = []
    with pytest.raises(InputRefused) as refused:
        add("http://127.0.0.1/")
    assert "PKI_WEBHOOK_NETWORKS" in refused.value.next_step


def test_adding_and_removing_are_audited_without_the_secret_and_the_team_is_notified(add: Add, authority: Authority) -> None:
    hook = add("http://127.0.0.1/hook")
    webhooks.send_test(hook, authority=authority)
    webhooks.remove_webhook(hook, authority=authority)
    events = list(AuditEvent.objects.filter(event__startswith="webhook:").order_by("pk"))
    assert [(one.event, one.actor_name) for one in events] == [
        ("webhook:created", "alice"),
        ("webhook:changed", "alice"),
    ]
    assert hook.salt not in str([one.data for one in events])
    subjects = OutgoingMail.objects.filter(recipient="alice@example.com").order_by("pk")
    assert [mail.subject.rpartition(" ")[2] for mail in subjects] == ["added", "removed"]
    assert not deliver.waiting().exists()
    assert add("http://127.0.0.1/hook").pk != hook.pk  # the name is free again


def test_name_is_taken_once_and_strangers_change_nothing(add: Add, twin_portal: Requester) -> None:
    hook = add("http://127.0.0.1/hook")
    with pytest.raises(Conflict):
        add("http://127.0.0.1/other")
    bob = person("bob")
    stranger = Authority(Actor("user", "bob"), bob)
    for act in (
        lambda: webhooks.add_webhook(twin_portal.team, name="x", url="http://127.0.0.1/", topics=["renewed"], authority=stranger),
        lambda: webhooks.remove_webhook(hook, authority=stranger),
        lambda: webhooks.enable_webhook(hook, authority=stranger),
        lambda: webhooks.send_test(hook, authority=stranger),
        lambda: webhooks.send_again(hook, "msg_1", authority=stranger),
    ):
        with pytest.raises(NotPermitted):
            act()


def test_row_and_pages_hold_no_secret(add: Add) -> None:
    hook = add("http://127.0.0.1/hook")
    secret = webhooks.secret_of(hook)
    row = Webhook.objects.filter(pk=hook.pk).values().get()
    assert secret not in str(row)
    assert secret.removeprefix("whsec_") not in str(row)
    assert webhooks.secret_of(Webhook.objects.get(pk=hook.pk)) == secret


def test_message_of_a_killed_worker_is_delivered_when_its_lease_has_ended(add: Add, receiver: Receiver, authority: Authority) -> None:
    webhooks.send_test(add(receiver.url), authority=authority)
    WebhookDelivery.objects.update(lease_until=database_now() + timedelta(seconds=30))
    assert deliver_due() == 0
    WebhookDelivery.objects.update(lease_until=F("lease_until") - timedelta(seconds=31))
    assert deliver_due() == 1
