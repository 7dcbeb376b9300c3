"""What a browser does between the portal and the OpenID provider."""

from __future__ import annotations

import html
import re
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.test import Client

from certs.access.sign_in.identities import provider_id
from tests.identity_provider import IdentityProvider


def begin(client: Client, **more: str) -> str:
    """Press the button, and return the address at the provider."""
    answer = client.post("/login/oidc/", more)
    found = re.search(r'content="0;url=([^"]+)"', answer.content.decode())
    assert found, answer.status_code
    return html.unescape(found.group(1))


def sign_in(idp: IdentityProvider, client: Client | None = None, **more: str) -> tuple[Client, Any]:
    browser = client or Client()
    return browser, browser.get(idp.answer_to(begin(browser, **more)))


def said(client: Client) -> str:
    """What the page after a redirect says."""
    return html.unescape(client.get("/login/", follow=True).content.decode())


def identity_of(user: Any, sub: str) -> SocialAccount:
    return SocialAccount.objects.create(user=user, provider=provider_id(), uid=sub)
