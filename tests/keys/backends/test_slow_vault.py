"""A Vault that sends its reply byte by byte holds nobody longer than the total time of one call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from certs.ca.vault_pki import VaultPKIClient
from keys.backends import vault_session
from keys.backends.vault import VaultKeyBackend
from keys.errors import KeyBackendError, KeyBackendUnavailable
from tests.faults.dripping import REPLY, dripping

AT_ONCE = {"headers": 0, "body": REPLY.index(b"\r\n\r\n") + 4}


@pytest.mark.parametrize("at_once", AT_ONCE.values(), ids=AT_ONCE)
@pytest.mark.parametrize("login", [{"token": "t"}, {"role_id": "r", "secret_id": "s"}], ids=["token", "AppRole"])
def test_vault_that_answers_byte_by_byte_ends_with_the_total_time_of_a_call(
    at_once: int, login: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out for each read never ends a reply of which a byte comes in time."""
    monkeypatch.setattr(vault_session, "TOTAL_TIMEOUT", 0.5)
    with dripping(at_once) as url:
        backend = VaultKeyBackend("slow", mount="transit", url=url, **login)
        began = time.monotonic()
        with pytest.raises(KeyBackendUnavailable, match="cannot be reached"):
            backend.find("k", key_id=uuid.uuid4())
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: VaultKeyBackend("slow", mount="transit", url=url, token="t").is_working(),
        lambda url: VaultPKIClient("slow", role="r", url=url, token="t").is_working(),
    ],
    ids=["transit", "PKI engine"],
)
def test_probe_of_a_vault_that_answers_byte_by_byte_ends(ask: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_session, "TOTAL_TIMEOUT", 0.5)
    with dripping(0) as url:
        began = time.monotonic()
        assert ask(url) is False
        assert time.monotonic() - began < 5


def test_calls_that_a_vault_leaves_hanging_are_bounded_in_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call beyond the bound is not sent at all, so that it may be sent again."""
    monkeypatch.setattr(vault_session, "TOTAL_TIMEOUT", 0.2)
    monkeypatch.setattr(vault_session, "MOST_HANGING", 1)
    with dripping(0) as url:
        backend = VaultKeyBackend("slow", mount="transit", url=url, token="t")
        for expected in ("ReadTimeout", "ConnectTimeout"):
            with pytest.raises(KeyBackendError, match=expected):
                backend.find("k", key_id=uuid.uuid4())
