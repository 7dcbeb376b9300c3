"""The second step of a sign-in: codes of an app, recovery codes, and the limits on guessing them."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection, transaction
from django.test import Client

from audit.models import AuditEvent
from certs.access.sign_in.second_factors import check_code
from certs.models import SignedInSession
from tests.cast import person
from tests.certs.views.sign_in.factors import add_app, add_recovery_codes, code, is_signed_in, password_step, wrong_code
from tests.portal.fixtures import PASSWORD
from tests.portal.threads import in_thread, until_it_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def alice() -> Any:
    """A person with an authenticator app."""
    user = person("alice", email="alice@example.com", password=PASSWORD)
    add_app(user)
    return user


def second(client: Client, text: str) -> int:
    return client.post("/login/code/", {"code": text}).status_code


def test_the_password_alone_opens_nothing_and_the_code_completes_the_sign_in(alice: Any) -> None:
    client = Client()
    answer = password_step(client, next="/tokens/")
    assert answer["Location"] == "/login/code/"
    assert not is_signed_in(client)
    assert not SignedInSession.objects.exists()
    answer = client.post("/login/code/", {"code": code()})
    assert answer["Location"] == "/tokens/"
    assert is_signed_in(client)
    event = AuditEvent.objects.get(event="login:succeeded")
    assert event.data["methods"] == ["password", "totp"]
    assert SignedInSession.objects.get().user == alice


def test_the_session_has_another_key_after_the_sign_in(alice: Any) -> None:
    client = Client()
    password_step(client)
    before = client.cookies["sessionid"].value
    assert second(client, code()) == 302
    assert client.cookies["sessionid"].value != before
    assert not is_signed_in(_with_session(before))


def _with_session(key: str) -> Client:
    client = Client()
    client.cookies["sessionid"] = key
    return client


def test_a_code_works_once(alice: Any) -> None:
    shown = code()
    first, thief = Client(), Client()
    for client in (first, thief):
        password_step(client)
    assert second(first, shown) == 302
    assert second(thief, shown) == 422
    assert second(thief, shown[:3] + " " + shown[3:]) == 422
    assert not is_signed_in(thief)
    assert second(thief, code(1)) == 302  # the next one


def test_a_code_works_once_among_processes_that_share_only_the_database(alice: Any, settings: Any) -> None:
    """The library remembers used codes in a cache of each process."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    shown, passed = code(), []
    threads = [in_thread(lambda: passed.append(check_code(alice, shown) is not None)) for _ in range(8)]
    for thread in threads:
        thread.join()
    assert passed.count(True) == 1


def test_wrong_codes_lock_and_the_right_password_does_not_unlock(alice: Any) -> None:
    client = Client()
    password_step(client)
    wrong = wrong_code()
    assert [second(client, wrong) for _ in range(3)] == [422] * 3
    fresh = Client()
    password_step(fresh)
    assert [second(fresh, wrong) for _ in range(3)] == [422, 422, 429]
    password_step(fresh)
    answer = fresh.post("/login/code/", {"code": code()})
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert "Too many wrong tries" in answer.content.decode()
    assert not is_signed_in(fresh)


def test_wrong_codes_do_not_lock_the_password_of_the_account(alice: Any) -> None:
    client = Client()
    password_step(client)
    for _ in range(6):
        second(client, wrong_code())
    assert password_step(Client()).status_code == 302


def test_the_first_wrong_code_is_on_record_at_once(alice: Any) -> None:
    client = Client()
    password_step(client)
    second(client, wrong_code())
    event = AuditEvent.objects.get(event="login:failed")
    assert (event.data["factor"], event.actor_name) == ("code", "alice")


def test_a_recovery_code_works_once_and_is_on_record(alice: Any) -> None:
    codes = add_recovery_codes(alice)
    client, again = Client(), Client()
    password_step(client)
    assert second(client, codes[3]) == 302
    assert AuditEvent.objects.get(event="login:recovery_code_used").data == {"left": 9}
    password_step(again)
    assert second(again, codes[3]) == 422
    assert second(again, codes[4]) == 302
    assert AuditEvent.objects.filter(event="login:succeeded").latest("id").data["methods"] == ["password", "recovery_codes"]
    changes = AuditEvent.objects.filter(event="second_factor:changed")
    assert {row.actor_name for row in changes} == {"alice"}


def keep(found: list[Any], user: Any, text: str) -> None:
    found.append(check_code(user, text))


def test_a_recovery_code_that_is_tried_twice_at_once_works_once(alice: Any) -> None:
    """And two codes at once are both used up: which are used is one number in one row."""
    codes = add_recovery_codes(alice)
    for pair, accepted in (((codes[0], codes[0]), 1), ((codes[1], codes[2]), 2)):
        found: list[Any] = []
        with transaction.atomic():  # both have read what they read without a lock before one of them can write
            Authenticator.objects.select_for_update().get(user=alice, type="recovery_codes")
            threads = [in_thread(partial(keep, found, alice, one)) for one in pair]
            time.sleep(0.5)
        for thread in threads:
            thread.join(30)
        assert len([row for row in found if row is not None]) == accepted
    for used in codes[:3]:
        assert check_code(alice, used) is None


def test_a_recovery_code_that_is_used_while_new_ones_are_made_is_wrong(alice: Any) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    codes, found = add_recovery_codes(alice), list[Any]()
    with transaction.atomic():
        Authenticator.objects.get(user=alice, type="recovery_codes").delete()
        thread = in_thread(partial(keep, found, alice, codes[0]))
        until_it_waits_for_a_lock()
        add_recovery_codes(alice)
    thread.join(30)
    assert found == [None]


@pytest.mark.parametrize("text", ["", " ", "0" * 70, "١٢٣٤٥٦", "abc", "12345", "\u0000", "-1", "1e6"])
def test_nonsense_is_a_wrong_code(alice: Any, text: str) -> None:
    client = Client()
    password_step(client)
    assert client.post("/login/code/", {"code": text}).status_code in (400, 422)
    assert not is_signed_in(client)


def test_the_second_step_without_the_first_leads_to_the_first(alice: Any) -> None:
    client = Client()
    assert client.get("/login/code/")["Location"] == "/login/"
    assert client.post("/login/code/", {"code": code()})["Location"] == "/login/"


def test_an_account_that_is_deactivated_between_the_steps_stays_out(alice: Any) -> None:
    client = Client()
    password_step(client)
    alice.is_active = False
    alice.save()
    second(client, code())
    assert not is_signed_in(client)


def test_a_device_cookie_is_given_after_the_second_step_only(alice: Any) -> None:
    client = Client()
    password_step(client)
    assert "pki_device" not in client.cookies
    second(client, code())
    assert client.cookies["pki_device"]["path"] == "/login/"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "http:evil.example", "https:///evil.example"],
)
def test_nobody_is_led_elsewhere_after_the_sign_in(alice: Any, elsewhere: str) -> None:
    client = Client()
    password_step(client, next=elsewhere)
    answer = client.post(f"/login/code/?next={elsewhere}", {"code": code(), "next": elsewhere})
    assert answer["Location"] == "/"


def test_factors_are_removed_with_their_account(alice: Any) -> None:
    add_recovery_codes(alice)
    alice.delete()
    assert not Authenticator.objects.exists()
