"""Guessing passwords: what is counted, who is locked, who is not, and what the audit log says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from audit.models import AuditEvent, AuditSubject
from certs.access import login_limits
from certs.access.login_limits import ACCOUNT, ADDRESS, PLACE, PLACE_DAY, attempt, close_windows
from certs.models import SignInCounter
from db.clock import database_now
from tests.cast import person
from tests.certs.views.sign_in.factors import add_app
from tests.portal.fixtures import PASSWORD
from tests.portal.threads import in_thread

pytestmark = pytest.mark.django_db
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.{}"


@pytest.fixture(autouse=True)
def _alice(db: None) -> None:
    person("alice")


def guess(name: str, address: str = HOME, *, device: str = "") -> bool:
    """A wrong password. Returns whether it would have been looked at."""
    tried = attempt(name, address, device=device)
    if tried is not None:
        login_limits.failed(tried)
    return tried is not None


def sign_in(name: str = "alice", address: str = HOME, *, device: str = "") -> str:
    """The right password. Returns the device cookie, nothing when it was not looked at."""
    tried = attempt(name, address, device=device)
    if tried is None:
        return ""
    return login_limits.signed_in(name, address, device=device, before=login_limits.confirmed(tried))


def end_windows() -> None:
    SignInCounter.objects.exclude(kind="known").update(ends_at=database_now())


def events() -> Counter[str]:
    found = AuditEvent.objects.filter(event__startswith="login:")
    return Counter(found.values_list("event", flat=True))


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_parallel_guesses_pass_no_more_than_single_ones() -> None:
    """S14: 24 guesses at once passed 10 instead of 5."""
    passed: list[bool] = []
    threads = [in_thread(lambda: passed.append(guess("alice"))) for _ in range(24)]
    for thread in threads:
        thread.join()
    assert passed.count(True) == PLACE.most


@pytest.mark.both_databases
def test_a_window_that_ended_gives_new_tries() -> None:
    assert [guess("alice") for _ in range(6)] == [True] * 5 + [False]
    end_windows()
    assert guess("alice")


def test_a_day_allows_fewer_tries_than_its_windows_together() -> None:
    passed = 0
    for _ in range(6):
        passed += sum(guess("alice") for _ in range(6))
        SignInCounter.objects.filter(kind=PLACE.kind).update(ends_at=database_now())
    assert passed == PLACE_DAY.most


def test_one_person_who_goes_on_trying_locks_nobody_else_in_the_office() -> None:
    for _ in range(ADDRESS.most + 20):
        guess("bob")
    assert guess("alice")


def test_a_list_of_names_from_one_address_ends() -> None:
    passed = [guess(f"name-{number}") for number in range(ADDRESS.most + 5)]
    assert passed == [True] * ADDRESS.most + [False] * 5
    rows = SignInCounter.objects.count()
    assert not guess("another")
    assert SignInCounter.objects.count() == rows  # refused names take no room
    assert guess("another", "192.0.2.2")


def test_addresses_of_one_ipv6_network_are_one() -> None:
    for number in range(5):
        guess("alice", f"2001:db8::{number}")
    assert not guess("alice", "2001:db8:0:0:ffff::1")
    assert guess("alice", "2001:db8:0:1::1")
    assert login_limits.network_of("::ffff:192.0.2.1") == HOME


def lock_account_from_elsewhere() -> None:
    for number in range(ACCOUNT.most // 5):
        for _ in range(5):
            guess("alice", ELSEWHERE.format(number))
    assert not guess("alice", "203.0.113.1")


def test_guesses_from_many_addresses_end_too() -> None:
    lock_account_from_elsewhere()


def test_strangers_do_not_lock_the_owner_out_of_a_known_address_or_device() -> None:
    device = sign_in()
    lock_account_from_elsewhere()
    assert sign_in(address=HOME)
    assert sign_in(address="203.0.113.7", device=device)
    assert not sign_in(address="203.0.113.8")


def test_a_colleague_at_the_same_address_does_not_lock_the_owners_device() -> None:
    device = sign_in()
    while guess("alice"):
        pass
    assert not sign_in()
    assert sign_in(device=device)


def test_a_device_has_tries_of_its_own_and_only_for_its_account() -> None:
    device = sign_in()
    assert [guess("alice", device=device) for _ in range(6)] == [True] * 5 + [False]
    person("mallory")
    other = sign_in("mallory")
    while guess("alice"):
        pass
    assert not guess("alice", device=other)
    assert not guess("alice", device=device[:-1] + "x")


def test_own_sign_ins_of_an_attacker_give_no_new_tries() -> None:
    person("mallory")
    passed = 0
    for number in range(ADDRESS.most + 20):
        passed += guess(f"name-{number}")
        if number % 10 == 0:
            sign_in("mallory")
    assert passed == ADDRESS.most


def test_the_owners_sign_in_forgets_wrong_passwords_of_its_place() -> None:
    for _ in range(4):
        guess("alice")
    assert sign_in()
    assert [guess("alice") for _ in range(5)] == [True] * 5
    event = AuditEvent.objects.get(event="login:succeeded")
    assert event.data["wrong_before"] == 4


def test_spelling_of_a_name_opens_no_second_set_of_tries() -> None:
    assert [guess(name) for name in ("alice", "Alice", "ALICE", "aLice", "alicE", "aliCe")] == [
        *[True] * 5,
        False,
    ]


def test_a_thousand_guesses_are_a_few_events() -> None:
    for _ in range(100):
        guess("alice")
    assert events() == {"login:failed": 1, "login:locked": 1}
    end_windows()
    close_windows()
    assert events() == {"login:failed": 1, "login:locked": 2}
    summary: dict[str, Any] = AuditEvent.objects.filter(event="login:locked").latest("id").data
    assert (summary["tries"], summary["refused"], summary["address"]) == (5, 95, HOME)


def test_unknown_names_are_no_subjects_and_many_are_one_summary() -> None:
    subjects = AuditSubject.objects.count()
    for network in range(40):
        for number in range(5):
            guess(f"hunter{network}-{number}", ELSEWHERE.format(network))
    assert events() == {"login:failed": login_limits.STRANGER_EVENTS.most}
    end_windows()
    close_windows()
    assert AuditSubject.objects.count() == subjects + 1
    found = list(AuditEvent.objects.filter(event__startswith="login:").order_by("id"))
    assert "hunter" not in str([(e.subject, e.actor_name, e.data) for e in found])
    summary = found[-1].data
    assert summary["address_count"] >= len(summary["addresses"]) == 20
    assert len(found) - 1 + summary["tries"] == 40 * 5


def test_rows_are_deleted_when_their_windows_end() -> None:
    sign_in()
    guess("alice")
    end_windows()
    close_windows()
    assert list(SignInCounter.objects.values_list("kind", flat=True)) == ["known"]


@pytest.mark.parametrize("kind", ["wrong", "unknown", "without a password", "switched off", "with a factor"])
def test_a_wrong_password_costs_one_hash_whatever_the_name_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash takes a hundred times longer than all else: who measures would learn which accounts there are."""
    account = person("probe", password=None if kind == "without a password" else PASSWORD)
    account.is_active = kind != "switched off"
    account.save()
    if kind == "with a factor":
        add_app(account)
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append("once")
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    name = "stranger" if kind == "unknown" else "probe"
    answer = Client().post("/login/", {"username": name, "password": "wrong"})
    assert (answer.status_code, hashed) == (422, ["once"])


def test_a_name_is_kept_as_a_keyed_hash_only() -> None:
    guess("hunter2-in-the-wrong-field")
    assert "hunter2" not in str(list(SignInCounter.objects.values()))
