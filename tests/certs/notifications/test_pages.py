"""The pages of mails and webhooks."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.models import MailChoice, Webhook, WebhookDelivery
from certs.notifications import webhooks
from certs.notifications.choices import unwanted_by
from certs.notifications.delivery.deliver import deliver_due
from certs.notifications.topics import Topic
from tests.certs.notifications.receivers import receiving
from tests.portal.fixtures import Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alice(portal: Portal, settings: Any) -> Client:
    settings.PKI_WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.PKI_WEBHOOK_ALLOW_HTTP = True
    client = Client()
    client.force_login(portal.alice)
    return client


def test_choice_is_kept_and_security_topics_are_no_choice(alice: Client, portal: Portal) -> None:
    page = alice.get("/account/mails/").content.decode()
    assert page.count('type="checkbox"') == sum(topic.is_optional for topic in Topic)
    assert Topic.REVOKED.about.why_always.split(".")[0] in page.replace("&#x27;", "'")
    wanted = [Topic.ISSUED, Topic.APPROVAL]
    assert alice.post("/account/mails/", {"topics": wanted}).status_code == 302
    unwanted = unwanted_by(portal.alice)
    assert Topic.RENEWED in unwanted
    assert not unwanted & {*wanted, Topic.REVOKED, Topic.POWER}
    page = alice.get("/account/mails/").content.decode()
    assert page.count(" checked>") == 2
    alice.post("/account/mails/", {"topics": [t for t in Topic if t.is_optional]})
    assert unwanted_by(portal.alice) == set()


def test_unknown_topic_is_refused_and_nothing_is_changed(alice: Client) -> None:
    answer = alice.post("/account/mails/", {"topics": ["everything"]})
    assert 400 <= answer.status_code < 500
    assert not MailChoice.objects.exists()


def test_secret_of_a_webhook_is_shown_once(alice: Client, portal: Portal) -> None:
    address = reverse("webhooks", args=["web"])
    form = {"name": "bot", "url": "http://127.0.0.1:9/hook", "topics": ["renewed", "revoked"]}
    shown = alice.post(address, form).content.decode()
    hook = Webhook.objects.get()
    secret = webhooks.secret_of(hook)
    assert secret in shown.replace("&#x2B;", "+")
    assert (hook.topics, hook.created_by) == (["renewed", "revoked"], portal.alice)
    for page in (address, reverse("webhook", args=["web", hook.pk])):
        assert "whsec_" not in alice.get(page).content.decode()


def test_form_that_cannot_be_is_refused_with_the_field(alice: Client) -> None:
    good = {"name": "bot", "url": "http://127.0.0.1:9/hook", "topics": ["renewed"]}
    wrong: dict[str, Any]
    for wrong in ({"name": ""}, {"url": "http://10.0.0.1/"}, {"topics": ["everything"]}, {"topics": []}):
        answer = alice.post(reverse("webhooks", args=["web"]), good | wrong)
        assert (wrong, 400 <= answer.status_code < 500) == (wrong, True)
    assert not Webhook.objects.exists()


def test_log_shows_deliveries_and_sends_them_again(alice: Client) -> None:
    with receiving() as receiver:
        receiver.status = 500
        form = {"name": "bot", "url": receiver.url, "topics": ["renewed"]}
        alice.post(reverse("webhooks", args=["web"]), form)
        hook = Webhook.objects.get()
        act = [reverse("webhook-act", args=["web", hook.pk, verb]) for verb in ("test", "again")]
        alice.post(act[0])
        assert deliver_due() == 0
        page = alice.get(reverse("webhook", args=["web", hook.pk])).content.decode()
        assert "it returned status 500" in page
        receiver.status = 200
        alice.post(act[1], {"message": WebhookDelivery.objects.get().message_id})
        assert deliver_due() == 1
        page = alice.get(reverse("webhook", args=["web", hook.pk])).content.decode()
        assert "delivered" in page
    assert alice.post(act[1], {"message": "msg_unknown"}).status_code == 404
    assert alice.post(reverse("webhook-act", args=["web", hook.pk, "explode"])).status_code == 404
    alice.post(reverse("webhook-act", args=["web", hook.pk, "remove"]))
    assert alice.get(reverse("webhook", args=["web", hook.pk])).status_code == 404


def test_webhook_that_is_refused_keeps_what_was_typed(alice: Client) -> None:
    answer = alice.post("/teams/web/webhooks/", {"name": "chat bot", "url": "ftp://x/", "topics": ["renewed"]})
    text = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="chat bot"' in text
    assert 'value="ftp://x/"' in text
    assert 'value="renewed" checked' in text
    assert 'value="revoked" checked' not in text
