"""No form of another site is taken: not at the sign-in, not for second factors, not for an invitation."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from certs.views.sign_in.urls import urlpatterns
from tests.cast import person

pytestmark = [pytest.mark.django_db(transaction=True)]
# The provider sends a token that it has signed; this address reads no session.
SIGNED = {"openid_connect_ended"}
GIVEN = {"pk": 1, "uidb64": "MQ", "token": "t"}


@pytest.mark.parametrize("signed_in", [False, True])
def test_every_address_of_the_sign_in_refuses_a_form_without_the_token_of_its_page(signed_in: bool) -> None:
    client = Client(enforce_csrf_checks=True)
    if signed_in:
        client.force_login(person("alice"))
    answers: dict[str, Any] = {}
    for pattern in urlpatterns:
        address = reverse(pattern.name, kwargs={name: GIVEN[name] for name in pattern.pattern.converters})
        answers[str(pattern.name)] = client.post(address, {"username": "alice", "password": "x", "code": "1"}).status_code
    answers["invitation"] = client.post(reverse("invitation", args=["t"]), {}).status_code
    assert {name for name, status in answers.items() if status != 403} == SIGNED


@pytest.mark.parametrize(
    "following", ["https://evil.example/", "//evil.example", "/\\\\evil.example", "javascript:alert(1)", "http:///evil.example"]
)
@pytest.mark.parametrize("path", ["/login/", "/login/again/", "/admin/login/"])
def test_no_page_of_the_sign_in_leads_on_to_another_site(path: str, following: str) -> None:
    client = Client()
    client.force_login(person("alice"))
    for answer in (client.get(path, {"next": following}), client.post(path, {"next": following, "password": "x"})):
        assert "evil.example" not in answer.headers.get("Location", "")
        assert "javascript:" not in answer.headers.get("Location", "")
        assert 'href="https://evil' not in answer.content.decode()
