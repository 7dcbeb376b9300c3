"""The part "Check that it is live" of a page: with htmx, without JavaScript, and for people who may only look."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from django.urls import reverse

from certs.installation.looking import look_at
from certs.models import Certificate, InstalledPlace
from certs.views.certificate import live_check
from tests.certs.installation import servers
from tests.certs.installation.test_places import fullchain
from tests.certs.life import brought, issued, renewed
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True)]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def certificate(portal: Portal, key: Any, settings: Any) -> Certificate:
    settings.PKI_LIVE_NETWORKS = [ip_network("127.0.0.0/8")]
    return issued(brought("shop.example.com", key=key), portal.requester())


def client_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(certificate: Certificate) -> str:
    return reverse("live-check", args=[certificate.cert_id])


def test_part_asks_again_while_the_portal_looks_and_then_says_what_was_seen(certificate: Certificate, portal: Portal, key: Any) -> None:
    alice = client_of(portal.alice)
    with servers.serving(fullchain(certificate), key) as port:
        form = {"place": f"127.0.0.1:{port}", "speaks": "port", "back": "/requests/"}
        asked = alice.post(address(certificate), form, headers=HTMX).content.decode()
        assert 'hx-trigger="load delay:1s"' in asked
        assert "?back=/requests/" in asked
        look_at(InstalledPlace.objects.get().pk)
        seen = alice.get(address(certificate), {"back": "/requests/"}, headers=HTMX).content.decode()
    assert f"127.0.0.1:{port} serves this certificate, with its whole chain." in seen
    assert "hx-trigger" not in seen
    assert "TLSv1.3" in seen


def test_without_javascript_the_answer_is_on_the_page_it_came_from(
    certificate: Certificate, portal: Portal, key: Any, worker: None
) -> None:
    alice = client_of(portal.alice)
    with servers.serving(fullchain(certificate), key) as port:
        answer = alice.post(address(certificate), {"place": f"127.0.0.1:{port}", "back": "//evil.example/"})
    page = reverse("certificate-install", args=[certificate.cert_id])
    assert (answer.status_code, answer["Location"]) == (302, f"{page}#live-check")
    assert "with its whole chain" in alice.get(page).content.decode()


@pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "plain"])
def test_refused_place_is_kept_and_said_beside_its_field(certificate: Certificate, portal: Portal, headers: dict[str, str]) -> None:
    answer = client_of(portal.alice).post(address(certificate), {"place": "shop.example.com:http"}, headers=headers)
    text = answer.content.decode()
    assert answer.status_code == (200 if headers else 422)
    assert 'value="shop.example.com:http"' in text
    assert "http is no port. For example shop.example.com:443." in text
    assert 'aria-describedby="live-error"' in text


def test_too_many_looks_are_said_with_the_time_to_wait(certificate: Certificate, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.installation.places.OF_PERSON", 0)
    answer = client_of(portal.alice).post(address(certificate), {"place": "shop.example.com"})
    assert answer.status_code == 429
    assert "Try again in 10 minutes." in answer.content.decode()


def test_portal_that_may_not_look_says_so_and_shows_a_command(certificate: Certificate, portal: Portal, settings: Any) -> None:
    settings.PKI_LIVE_NETWORKS = []
    text = client_of(portal.alice).get(reverse("certificate-install", args=[certificate.cert_id])).content.decode()
    assert "openssl s_client -connect shop.example.com:443 -servername shop.example.com" in text
    assert 'name="place"' not in text
    assert client_of(portal.alice).post(address(certificate), {"place": "shop.example.com"}).status_code == 409


def test_person_who_may_only_see_gets_places_without_a_form(certificate: Certificate, portal: Portal) -> None:
    alice = client_of(portal.alice)
    alice.post(address(certificate), {"place": "127.0.0.1:1"}, headers=HTMX)
    portal.bob.groups.add(*_group("auditor"))
    text = client_of(portal.bob).get(reverse("certificate-install", args=[certificate.cert_id])).content.decode()
    assert "127.0.0.1:1" in text
    assert 'name="place"' not in text
    assert client_of(portal.bob).post(address(certificate), {"place": "127.0.0.1:1"}).status_code == 403


def _group(name: str) -> Any:
    from django.contrib.auth.models import Group  # noqa: PLC0415 - of this test alone

    return Group.objects.filter(name=name)


def test_place_is_forgotten_by_its_own_team_alone(certificate: Certificate, portal: Portal) -> None:
    alice = client_of(portal.alice)
    alice.post(address(certificate), {"place": "127.0.0.1:1"}, headers=HTMX)
    place = InstalledPlace.objects.get()
    assert client_of(portal.bob).post(address(certificate), {"forget": place.pk}).status_code == 404
    assert "127.0.0.1:1" not in alice.post(address(certificate), {"forget": place.pk}, headers=HTMX).content.decode()
    assert not InstalledPlace.objects.exists()


def test_page_of_a_renewed_certificate_that_is_still_served_says_what_to_do(certificate: Certificate, portal: Portal, key: Any) -> None:
    renewed(certificate)
    alice = client_of(portal.alice)
    with servers.serving(fullchain(certificate), key) as port:
        alice.post(address(certificate), {"place": f"127.0.0.1:{port}"}, headers=HTMX)
        look_at(InstalledPlace.objects.get().pk)
    text = alice.get(reverse("certificate-install", args=[certificate.cert_id])).content.decode()
    assert "a server still uses it" in text
    assert "needs you" in text
    assert "Did you reload the server?" in text


def test_what_was_seen_before_a_renewal_is_not_said_of_the_new_certificate(certificate: Certificate, portal: Portal, key: Any) -> None:
    alice = client_of(portal.alice)
    with servers.serving(fullchain(certificate), key) as port:
        alice.post(address(certificate), {"place": f"127.0.0.1:{port}"}, headers=HTMX)
        look_at(InstalledPlace.objects.get().pk)
    new = renewed(certificate)
    page = alice.get(f"/requests/{new.request.public_id}/")
    text = page.content.decode()
    assert {step.title: step.state for step in page.context["steps"]}["Seen live"] == "ahead"
    assert "Now put it on your server" in text
    assert "serves this certificate" not in text
    assert f"When the portal last looked, 127.0.0.1:{port} served the certificate before this one." in text
    assert "not looked at since the renewal" in alice.get(reverse("certificate-install", args=[new.cert_id])).content.decode()


def test_wait_of_a_plain_browser_ends(certificate: Certificate, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_check, "PATIENCE", 0.2)
    answer = client_of(portal.alice).post(address(certificate), {"place": "127.0.0.1:1"})
    assert answer.status_code == 302
    text = client_of(portal.alice).get(answer["Location"]).content.decode()
    assert "Load the page again to see it." in text
