"""Whether a CA or a key backend works is asked with what the work needs, not with a health page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from certs.access.api_tokens import create_token
from certs.ca.registry import get_ca_client, own_ca
from certs.ca.rest import RestCAClient
from keys.backends.vault import VaultKeyBackend
from tests.faults.wire import Fault, wired
from tests.keys.backends.test_vault_policies import Mounts, mounts
from tests.portal.fixtures import SYSTEM, Portal

__all__ = ["mounts"]  # a fixture
pytestmark = pytest.mark.django_db(transaction=True)


def failing(part: str, status: int) -> Callable[[str, str], Fault | None]:
    return lambda _method, path: Fault(status=status) if part in path else None


@pytest.mark.parametrize("status", [400, 404, 429, 472, 473])
def test_vault_whose_health_page_says_no_works_when_its_keys_do(status: int, vault_access: Any, vault_mount: Callable[[str], str]) -> None:
    """K1: held requests were never released, though every call of the work was served."""
    with wired(vault_access.address, ca_file=str(vault_access.ca_file)) as wire:
        wire.decide = failing("/sys/health", status)
        backend = VaultKeyBackend("vault", mount=vault_mount("transit"), url=wire.url, token=vault_access.token)
        assert backend.is_working() is True


@pytest.mark.parametrize("part", ["/keys/", "/sys/capabilities-self"])
def test_vault_whose_keys_cannot_be_had_does_not_work(part: str, vault_access: Any, vault_mount: Callable[[str], str]) -> None:
    """K1: `sys/health` alone was asked."""
    with wired(vault_access.address, ca_file=str(vault_access.ca_file)) as wire:
        wire.decide = failing(part, 503)
        backend = VaultKeyBackend("vault", mount=vault_mount("transit"), url=wire.url, token=vault_access.token)
        assert backend.is_working() is False


def test_vault_without_that_mount_does_not_work(vault_access: Any) -> None:
    backend = VaultKeyBackend(
        "vault", mount="no-such-mount", url=vault_access.address, ca_cert=str(vault_access.ca_file), token=vault_access.token
    )
    assert backend.is_working() is False


@pytest.mark.parametrize("right", ["sign/+", "keys/+"])
def test_role_without_a_right_that_the_work_needs_does_not_work(right: str, mounts: Mounts) -> None:
    """K1, F4: rights of a role removed for a while."""
    backend = mounts.backend("keys", mounts.leaf)
    assert backend.is_working() is True
    name = f"keys-{mounts.mark}"
    mounts.vault.sys.create_or_update_policy(name, mounts.policy("keys").replace(f'path "{mounts.leaf}/{right}"', 'path "elsewhere"'))
    assert backend.is_working() is False
    mounts.vault.sys.create_or_update_policy(name, mounts.policy("keys"))
    assert backend.is_working() is True


@pytest.fixture
def upstream(portal: Portal, live_server: Any, settings: Any) -> Callable[..., RestCAClient]:
    settings.PKI_CA_API_INLINE = True

    def client(*scopes: str, url: str = "") -> RestCAClient:
        _, secret = create_token(user=portal.alice, team=portal.team, name=f"portal with {scopes}", scopes=scopes, actor=SYSTEM)
        return RestCAClient("upstream", url=url or live_server.url, token=secret)

    return client


def test_ca_that_does_not_take_our_token_does_not_work(upstream: Callable[..., RestCAClient], live_server: Any) -> None:
    """K1: `/healthz` knows no token."""
    assert upstream("certificates:issue").is_working() is True
    assert upstream("certificates:read").is_working() is False
    assert RestCAClient("upstream", url=live_server.url, token="wrong").is_working() is False


def test_ca_whose_health_page_fails_works_when_orders_are_served(upstream: Callable[..., RestCAClient], live_server: Any) -> None:
    with wired(live_server.url) as wire:
        client = upstream("certificates:issue", url=wire.url)
        for part, works in (("/healthz", True), ("/api/v1/certificates", False)):
            wire.decide = failing(part, 503)
            assert client.is_working() is works


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"CLIENT": "certs.ca.nowhere.Client"}, "cannot be imported"),
        ({"CLIENT": "certs.models.Issuer"}, "is not a CAClient"),
        ({"CLIENT": "certs.ca.rest.RestCAClient", "OPTIONS": {"url": "http://x", "tokn": "s3cret"}}, "do not fit"),
        ({"CLIENT": "certs.ca.rest.RestCAClient", "OPTIONS": {"url": "http://x", "token": ""}}, "needs a bearer token"),
    ],
)
def test_entry_that_makes_no_client_is_a_configuration_error(config: dict[str, Any], says: str, settings: Any) -> None:
    """K2, K4: only one kind of error, so that one wrong entry can be kept to itself."""
    settings.CA_CLIENTS = {"broken": config}
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        get_ca_client("broken")
    assert "s3cret" not in str(caught.value)
    assert own_ca("broken") is None
    assert own_ca("not-there-at-all") is None
