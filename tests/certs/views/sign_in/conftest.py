"""The OpenID provider of the tests, connected to the portal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, running

HERE = "http://testserver/login/oidc/callback/"


@pytest.fixture(scope="module")
def server() -> Iterator[IdentityProvider]:
    with running(HERE) as found:
        yield found


@pytest.fixture
def idp(server: IdentityProvider, settings: Any) -> IdentityProvider:
    """The provider, connected to the portal."""
    settings.PKI_OIDC_ISSUER = server.issuer
    settings.PKI_OIDC_CLIENT_ID, settings.PKI_OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
    settings.PKI_OIDC_NAME = "Acme sign-in"
    settings.PKI_OIDC_SCOPES = ["openid", "profile", "email", "groups"]
    settings.PKI_OIDC_SIGN_UP = True
    return server
