"""Signing in: limits, answers that tell nothing, audit events, and the end of sessions."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.hashers import get_hashers
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory

from audit.models import AuditEvent
from certs.models import SignInCounter
from certs.views.client_ip import client_address
from pkiportal.env import env_networks
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


def sign_in(client: Client, password: str, name: str = "alice") -> int:
    return client.post("/login/", {"username": name, "password": password}).status_code


def test_five_wrong_passwords_lock_the_right_one_out(portal: Portal) -> None:
    client = Client()
    assert [sign_in(client, "wrong") for _ in range(5)] == [422] * 5
    assert sign_in(client, PASSWORD) == 429
    assert sign_in(Client(), PASSWORD, "carol") == 302  # others at the same address are not locked out


@pytest.mark.parametrize("spelling", ["alice ", " alice", "\uff41lice"])
def test_another_spelling_of_the_name_does_not_open_the_lock(portal: Portal, spelling: str) -> None:
    client = Client()
    assert [sign_in(client, "wrong") for _ in range(5)] == [422] * 5
    assert sign_in(client, PASSWORD, spelling) == 429


def without_csrf_token(content: bytes) -> bytes:
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", content)


def test_locked_sign_in_says_nothing_about_the_password(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """S2: the right password was answered with another text than a wrong one."""
    client = Client()
    for _ in range(5):
        sign_in(client, "wrong")
    hashed: list[str] = []
    for hasher in get_hashers():
        monkeypatch.setattr(type(hasher), "verify", lambda *_: hashed.append("verified"))
        monkeypatch.setattr(type(hasher), "encode", lambda *_: hashed.append("encoded"))
    answers = [client.post("/login/", {"username": "alice", "password": password}) for password in ("wrong", PASSWORD)]
    assert [answer.status_code for answer in answers] == [429, 429]
    assert len({without_csrf_token(answer.content) for answer in answers}) == 1
    assert {answer["Retry-After"] for answer in answers} == {"900"}
    assert hashed == []


@pytest.mark.parametrize("tries", [1, 6])
def test_known_and_unknown_names_get_the_same_answer(portal: Portal, tries: int) -> None:
    answers = []
    for name in ("alice", "nobody"):
        for _ in range(tries):
            answer = Client().post("/login/", {"username": name, "password": "wrong"})
        answers.append(without_csrf_token(answer.content).replace(name.encode(), b"NAME"))
    assert answers[0] == answers[1]


def test_changing_ones_password_is_no_second_place_to_guess_it(portal: Portal) -> None:
    portal.carol.is_staff = True
    portal.carol.save()
    client = Client()
    client.force_login(portal.carol)

    def change(old: str) -> int:
        new = {"new_password1": "a new one 4 carol", "new_password2": "a new one 4 carol"}
        return client.post("/admin/password_change/", {"old_password": old, **new}).status_code

    assert [change("wrong") for _ in range(6)] == [200] * 5 + [429]
    assert change(PASSWORD) == 429
    assert sign_in(Client(), PASSWORD, "carol") == 429  # the same count
    SignInCounter.objects.all().delete()
    assert change(PASSWORD) == 302


def test_who_may_not_change_a_password_forgets_no_wrong_ones(portal: Portal) -> None:
    """S14: the admin sent such a user away, which was taken for the right password and gave five new guesses."""
    session = Client()
    session.force_login(portal.alice)
    for _ in range(3):
        assert [sign_in(Client(), "wrong", "alice") for _ in range(2)][-1] in (422, 429)
        assert session.post("/admin/password_change/", {"old_password": "x"}).status_code == 302
    assert sign_in(Client(), PASSWORD, "alice") == 429


def test_nobody_needs_redis_to_sign_in(portal: Portal, settings: Any) -> None:
    """F8: wrong passwords were counted in the Redis cache; without Redis the answer was 500."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    assert sign_in(Client(), "wrong") == 422
    assert sign_in(Client(), PASSWORD) == 302


def test_a_device_that_signed_in_before_is_remembered(portal: Portal) -> None:
    client = Client()
    sign_in(client, PASSWORD)
    client.post("/logout/")
    for _ in range(6):
        sign_in(Client(), "wrong")
    assert (sign_in(Client(), PASSWORD), sign_in(client, PASSWORD)) == (429, 302)
    cookie = client.cookies["pki_device"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/login/")


def test_sessions_of_a_deactivated_user_do_not_come_back(portal: Portal) -> None:
    """S22: the old session worked again once the account was active again."""
    seen, unseen = Client(), Client()
    for client in (seen, unseen):
        assert sign_in(client, PASSWORD) == 302
    portal.alice.is_active = False
    portal.alice.save()
    assert seen.get("/").status_code == 302
    portal.alice.is_active = True
    portal.alice.save()
    assert [client.get("/").status_code for client in (seen, unseen)] == [302, 302]
    assert sign_in(unseen, PASSWORD) == 302
    assert unseen.get("/").status_code == 200


def test_who_is_signed_in_but_not_staff_is_told_so_at_the_admin(portal: Portal) -> None:
    client = Client()
    sign_in(client, PASSWORD)
    assert client.get("/admin/", follow=True).status_code == 403


def test_attempts_are_in_the_audit_log_without_what_was_typed(portal: Portal) -> None:
    sign_in(Client(), PASSWORD)
    sign_in(Client(), "hunter2-in-the-wrong-field", name="hunter2-in-the-wrong-field")
    events = list(AuditEvent.objects.filter(event__startswith="login:").order_by("id").values_list("event", "actor_name"))
    assert events[0] == ("login:succeeded", "alice")
    assert events[1][0] == "login:failed"
    assert "hunter2" not in str(events)


def test_admin_has_no_door_of_its_own(portal: Portal) -> None:
    response = Client().get("/admin/login/?next=/admin/")
    assert (response.status_code, response["Location"]) == (302, "/login/?next=/admin/")


def test_pages_carry_the_strict_policy(portal: Portal) -> None:
    headers = Client().get("/login/").headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")


def test_sign_in_while_locked_is_on_record(portal: Portal) -> None:
    client = Client()
    for _ in range(5):
        sign_in(client, "wrong")
    sign_in(client, PASSWORD)
    assert list(AuditEvent.objects.filter(event="login:locked").values_list("subject", flat=True)) == ["user:alice"]


def test_clients_behind_a_trusted_proxy_are_locked_each_for_itself(portal: Portal, settings: Any) -> None:
    settings.PKI_TRUSTED_PROXIES = [ip_network("127.0.0.1"), ip_network("10.0.0.0/8")]
    far, near = Client(headers={"X-Forwarded-For": "192.0.2.1, 10.1.1.1"}), Client(headers={"X-Forwarded-For": "192.0.2.2"})
    assert [sign_in(far, "wrong") for _ in range(5)] == [422] * 5
    assert (sign_in(far, PASSWORD), sign_in(near, PASSWORD)) == (429, 302)


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("192.0.2.9", "198.51.100.1", "192.0.2.9"),  # no proxy of ours: what it says is nothing
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the left one was written by the client
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),  # a server that listens on IPv6 sees IPv4 proxies so
        ("10.0.0.1", "198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"),
        ("::ffff:192.0.2.9", "198.51.100.1", "::ffff:192.0.2.9"),
    ],
)
def test_address_of_a_client_is_what_trusted_proxies_vouch_for(settings: Any, remote: str, forwarded: str, address: str) -> None:
    settings.PKI_TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    request = RequestFactory(REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=forwarded).get("/")
    assert client_address(request) == address


def test_a_proxy_that_is_no_address_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PKI_TRUSTED_PROXIES", "10.0.0.5, proxy.example.com")
    with pytest.raises(ImproperlyConfigured, match="PKI_TRUSTED_PROXIES must list addresses"):
        env_networks("PKI_TRUSTED_PROXIES")
