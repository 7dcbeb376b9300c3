"""The pages on which persons add, rename and remove their second factors."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import Client

from audit.models import AuditEvent
from certs.access.sessions import RECENT, SHOWED_AT
from certs.models import SignedInSession
from db.clock import database_now
from tests.cast import person
from tests.certs.views.sign_in.factors import add_app, add_recovery_codes, code, is_signed_in, password_step
from tests.portal.fixtures import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
APP = "/account/security/app/"
NEW_CODES = "/account/security/codes/new/"


@pytest.fixture
def alice() -> Any:
    return person("alice", email="alice@example.com", password=PASSWORD)


@pytest.fixture
def browser(alice: Any) -> Client:
    """A browser in which Alice has just signed in."""
    client = Client()
    assert password_step(client).status_code == 302
    return client


def some_time_later(client: Client) -> None:
    """Make the sign-in of the browser older than what counts as recent."""
    session = client.session
    session[SHOWED_AT] = (database_now() - RECENT - timedelta(seconds=1)).isoformat()
    session.save()


def shown_seed(page: str) -> str:
    found = re.search(r">([A-Z2-7]{32})<", page)
    assert found
    return found.group(1)


def test_an_app_is_added_with_its_first_code_and_recovery_codes_are_shown_once(alice: Any, browser: Client) -> None:
    seed = shown_seed(browser.get(APP).content.decode())
    answer = browser.post(APP, {"code": code(seed=seed)})
    assert answer["Location"] == "/account/security/codes/"
    page = browser.get("/account/security/codes/").content.decode()
    codes = re.findall(r"<code>(\d{8})</code>", page)
    assert len(set(codes)) == 10
    again = browser.get("/account/security/codes/").content.decode()
    assert not re.findall(r"<code>\d{8}</code>", again)
    events = AuditEvent.objects.filter(event="second_factor:created").order_by("id")
    assert [(row.actor_name, row.data["type"]) for row in events] == [("alice", "totp"), ("alice", "recovery_codes")]
    assert not any(text in repr(list(AuditEvent.objects.values_list("data"))) for text in (seed, *codes))


def test_the_own_session_goes_on_where_the_clock_stands_still(alice: Any, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite counts milliseconds: now and then whoever added a factor was signed out with the others."""
    seed = shown_seed(browser.get(APP).content.decode())
    moment = database_now()
    monkeypatch.setattr("certs.access.sessions.database_now", lambda: moment)
    assert browser.post(APP, {"code": code(seed=seed)}).status_code == 302
    assert is_signed_in(browser)


def test_a_new_factor_ends_sessions_that_never_showed_it(alice: Any, browser: Client) -> None:
    """Who knew the password could otherwise go on without the factor that the role requires."""
    thief, listed = Client(), SignedInSession.objects
    password_step(thief)
    seed = shown_seed(browser.get(APP).content.decode())
    assert browser.post(APP, {"code": code(seed=seed)}).status_code == 302
    assert [is_signed_in(client) for client in (browser, thief)] == [True, False]
    assert listed.count() == 1


def test_a_removed_factor_ends_sessions_that_may_have_begun_with_it(alice: Any, browser: Client) -> None:
    app, thief = add_app(alice), Client()
    password_step(thief)
    assert thief.post("/login/code/", {"code": code()}).status_code == 302
    assert browser.post(f"/account/security/{app.pk}/remove/").status_code == 302
    assert [is_signed_in(client) for client in (browser, thief)] == [True, False]


def test_the_first_code_of_an_app_does_not_sign_in_a_second_time(alice: Any, browser: Client) -> None:
    seed = shown_seed(browser.get(APP).content.decode())
    shown = code(seed=seed)
    assert browser.post(APP, {"code": shown}).status_code == 302
    thief = Client()
    password_step(thief)
    assert thief.post("/login/code/", {"code": shown}).status_code == 422


def test_a_seed_that_waits_for_its_first_code_is_encrypted_in_the_session(browser: Client) -> None:
    seed = shown_seed(browser.get(APP).content.decode())
    assert seed not in repr([row.get_decoded() for row in Session.objects.all()])
    answer = browser.post(APP, {"code": "000000"})
    assert answer.status_code == 422
    assert shown_seed(answer.content.decode()) == seed  # the app need not be set up again


def test_only_who_signed_in_recently_or_shows_it_again_changes_factors(alice: Any, browser: Client) -> None:
    some_time_later(browser)
    answer = browser.get(APP)
    assert answer["Location"].startswith("/login/again/?next=")
    wrong = browser.post(answer["Location"], {"password": "wrong"})
    assert (wrong.status_code, "This is not your password." in wrong.content.decode()) == (422, True)
    right = browser.post(answer["Location"], {"password": PASSWORD})
    assert right["Location"] == APP
    assert browser.get(APP).status_code == 200


def test_ending_other_sessions_does_not_count_as_signing_in(alice: Any, browser: Client) -> None:
    some_time_later(browser)
    browser.post("/account/", {"do": "end-others"})
    assert browser.get(APP)["Location"].startswith("/login/again/")


def test_being_asked_again_is_no_second_place_to_guess_the_password(alice: Any, browser: Client) -> None:
    some_time_later(browser)
    browser.cookies.pop("pki_device")
    guesses = [browser.post("/login/again/", {"password": f"wrong-{n}"}).status_code for n in range(6)]
    assert guesses == [422] * 5 + [429]
    assert browser.post("/login/again/", {"password": PASSWORD}).status_code == 429
    assert password_step(Client()).status_code == 429  # the same count


def test_being_asked_again_leads_nobody_elsewhere(alice: Any, browser: Client) -> None:
    some_time_later(browser)
    for elsewhere in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        answer = browser.post(f"/login/again/?next={elsewhere}", {"password": PASSWORD, "next": elsewhere})
        assert answer["Location"] == "/"


def test_a_person_without_a_password_shows_it_by_signing_in_anew(alice: Any, browser: Client) -> None:
    alice.set_unusable_password()
    alice.save()
    browser.force_login(alice)
    some_time_later(browser)
    answer = browser.get(APP)
    assert answer["Location"].startswith("/login/anew/?next=")
    page = browser.get(answer["Location"])
    assert "Sign in anew" in page.content.decode()
    answer = browser.post("/login/anew/", {"next": APP})
    assert answer["Location"] == "/login/?next=%2Faccount%2Fsecurity%2Fapp%2F"
    assert browser.post("/login/anew/", {"next": "//evil.example/"})["Location"].startswith("/login/?next=")


def test_a_factor_is_removed_after_a_question_and_its_recovery_codes_with_the_last(alice: Any, browser: Client) -> None:
    app, codes = add_app(alice), add_recovery_codes(alice)
    address = f"/account/security/{app.pk}/remove/"
    assert "your password alone opens your account" in browser.get(address).content.decode()
    assert Authenticator.objects.count() == 2
    assert browser.post(address)["Location"] == "/account/security/"
    assert not Authenticator.objects.exists()
    events = AuditEvent.objects.filter(event="second_factor:deleted")
    assert {row.actor_name for row in events} == {"alice"}
    assert len(codes) == 10
    assert browser.post(address).status_code == 404


def test_nobody_touches_the_factors_of_somebody_else(alice: Any, browser: Client) -> None:
    other = add_app(person("bob"))
    for address in (f"/account/security/{other.pk}/remove/", f"/account/security/{other.pk}/rename/"):
        assert browser.post(address, {"name": "mine"}).status_code == 404
    assert Authenticator.objects.filter(pk=other.pk).exists()


def test_recovery_codes_need_a_factor_that_they_stand_in_for(browser: Client) -> None:
    answer = browser.post("/account/security/codes/new/")
    assert answer.status_code == 422
    assert "Add a passkey or an authenticator app first" in answer.content.decode()


def test_new_recovery_codes_end_the_old_ones(alice: Any, browser: Client) -> None:
    add_app(alice)
    old = add_recovery_codes(alice)
    assert browser.post("/account/security/codes/new/").status_code == 302
    client = Client()
    password_step(client)
    assert client.post("/login/code/", {"code": old[0]}).status_code == 422


def page_of_new_codes(browser: Client) -> dict[str, str]:
    """Open the page, and return what its form sends."""
    found = re.search(r'name="in_place_of" value="(\d+)"', browser.get(NEW_CODES).content.decode())
    assert found
    return {"in_place_of": found.group(1)}


@pytest.mark.parametrize("had", [True, False])
def test_of_two_open_pages_one_makes_recovery_codes_and_the_other_says_so(alice: Any, browser: Client, had: bool) -> None:
    add_app(alice)
    if had:
        add_recovery_codes(alice)
    first, second = page_of_new_codes(browser), page_of_new_codes(browser)
    assert browser.post(NEW_CODES, first).status_code == 302
    made = re.findall(r"<code>(\d{8})</code>", browser.get("/account/security/codes/").content.decode())
    refused = browser.post(NEW_CODES, second)
    assert refused.status_code == 422
    assert "were made anew in another tab" in refused.content.decode()
    assert list(Authenticator.objects.get(type=Authenticator.Type.RECOVERY_CODES).wrap().get_unused_codes()) == made
    assert browser.post(NEW_CODES, page_of_new_codes(browser)).status_code == 302


@pytest.mark.parametrize("value", ["", "x", "-1", "9" * 5000])
def test_nonsense_for_the_codes_to_replace_is_refused_or_left_out(alice: Any, browser: Client, value: str) -> None:
    add_app(alice)
    add_recovery_codes(alice)
    assert browser.post(NEW_CODES, {"in_place_of": value}).status_code == (422 if value else 302)


@pytest.mark.parametrize(
    "credential",
    ["", "null", "[]", "1", "{", '"x"', "{}", '{"id":"a","rawId":"a","type":"public-key","response":{}}',
     '{"id":1,"rawId":[],"type":{},"response":{"userHandle":{}}}',
     '{"id":"a","rawId":"a","type":"public-key","response":{"userHandle":"' + "z" * 400 + '"}}',
     '{"id":"a","rawId":"a","type":"public-key","response":{"userHandle":"enp6enp6enp6eg","clientDataJSON":"e30","authenticatorData":"AA","signature":"AA"}}',
     '{"id":"YQ","rawId":"YQ","type":"public-key","response":{"userHandle":"MQ","clientDataJSON":"e30","authenticatorData":"'
     + "A" * 100 + '","signature":"AA"}}',
     "[" * 5000, "9" * 5000, '{"id":' + "9" * 5000 + "}"],
)  # fmt: skip
def test_a_credential_that_no_browser_sends_is_refused(browser: Client, credential: str) -> None:
    for client, address in ((Client(), "/login/passkey/"), (browser, "/account/security/passkey/")):
        client.get(address, headers={"Accept": "application/json"})
        answer = client.post(address, {"credential": credential, "name": "x"})
        assert answer.status_code in (302, 422)
        assert not Authenticator.objects.exists()
    assert not AuditEvent.objects.filter(event="login:succeeded", data__methods=["webauthn"]).exists()


def test_challenges_of_passkeys_fill_the_table_of_sessions_only_so_far(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certs.views.sign_in.guessing.MOST_NEW_SESSIONS", 3)
    answers = [Client().get("/login/passkey/", headers={"Accept": "application/json"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert Session.objects.count() == 3


def test_factors_that_go_with_their_account_are_attributed_to_who_deleted_it(alice: Any) -> None:
    add_app(alice)
    root = get_user_model().objects.create_superuser("root", "root@example.com")
    client = Client()
    client.force_login(root)
    assert client.post(f"/admin/auth/user/{alice.pk}/delete/", {"post": "yes"}).status_code == 302
    assert AuditEvent.objects.get(event="second_factor:deleted").actor_name == "root"


def test_after_a_change_of_secret_key_codes_are_wrong_and_the_pages_still_open(alice: Any, settings: Any) -> None:
    add_app(alice)
    add_recovery_codes(alice)
    settings.SECRET_KEY = "another secret key of many characters"
    client = Client()
    password_step(client)
    assert client.post("/login/code/", {"code": code()}).status_code == 422
    client.force_login(alice)
    for path in ("/account/security/", "/account/security/codes/new/", "/account/security/codes/"):
        assert client.get(path).status_code == 200
