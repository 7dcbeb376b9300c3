"""Signing in: counted, audited, and locked after five wrong passwords."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from audit.models import AuditEvent
from tests.portal.fixtures import PASSWORD, Portal

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_earlier_tries() -> None:
    cache.clear()


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
