"""Replies that are none of Vault's, as of a gateway before it: each is a KeyBackendError that waits, at every call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keys.backends.base import KeyInfo
from keys.backends.vault import VaultKeyBackend
from keys.errors import KeyBackendUnavailable
from keys.spec import KeySpec
from tests.faults.wire import Fault, Wire, wired

BODIES = [b"<html>", b"{}", b"[]", b'{"data": null}', b'{"data": {}}', b'{"data": {"latest_version": 1, "type": "ecdsa-p256", "keys": []}}']


@pytest.fixture
def wire(vault_access: Any) -> Iterator[Wire]:
    with wired(vault_access.address, ca_file=str(vault_access.ca_file)) as wire:
        yield wire


@pytest.fixture
def backend(wire: Wire, vault_client: Any, vault_mount: Callable[[str], str]) -> VaultKeyBackend:
    token = vault_client.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
    return VaultKeyBackend("vault", mount=vault_mount("transit"), url=wire.url, token=token)


@pytest.fixture
def made(backend: VaultKeyBackend) -> KeyInfo:
    return backend.create("unreadable", KeySpec.EC_P256, key_id=uuid.uuid4())


def answering(wire: Wire, part: str, body: bytes) -> None:
    """A write to a key has no body that one could replace."""
    wire.decide = lambda method, path: Fault(body=body) if part in path and (method == "GET" or "/keys/" not in path) else None


@pytest.mark.parametrize("body", BODIES)
def test_key_that_cannot_be_read_is_neither_absent_nor_an_error_of_ours(
    body: bytes, wire: Wire, backend: VaultKeyBackend, made: KeyInfo
) -> None:
    answering(wire, "/keys/", body)
    for act in (
        lambda: backend.find(made.ref.name, key_id=made.ref.key_id),
        lambda: backend.create(made.ref.name, KeySpec.EC_P256, key_id=made.ref.key_id),
        lambda: backend.rotate(made.ref, from_version=1, key_id=made.ref.key_id),
        lambda: backend.sign_many(made.ref, []),
    ):
        with pytest.raises(KeyBackendUnavailable, match="unreadable"):
            act()
    (told, _) = backend.side_by_side([made.ref.name, "absent"], lambda name: backend.find(name, key_id=made.ref.key_id))
    assert type(told) is KeyBackendUnavailable


@pytest.mark.parametrize(
    "body",
    [
        *BODIES,
        b'{"data": {"batch_results": null}}',
        b'{"data": {"batch_results": []}}',
        b'{"data": {"batch_results": [null]}}',
        b'{"data": {"batch_results": [{"signature": 1}]}}',
        b'{"data": {"batch_results": [{"signature": "vault:v1"}]}}',
        b'{"data": {"batch_results": [{"signature": "vault:v1:!"}]}}',
    ],
)
def test_signature_that_cannot_be_read_waits(body: bytes, wire: Wire, backend: VaultKeyBackend, made: KeyInfo) -> None:
    answering(wire, "/sign/", body)
    for act in (lambda: backend.sign_many(made.ref, [b"message"]), lambda: backend.sign_digest(made.ref, bytes(32))):
        with pytest.raises(KeyBackendUnavailable, match="unreadable"):
            act()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 1}'])
def test_vault_that_cannot_say_what_we_may_does_not_work(body: bytes, wire: Wire, backend: VaultKeyBackend, made: KeyInfo) -> None:
    answering(wire, "/sys/capabilities-self", body)
    assert backend.is_working() is False
    with pytest.raises(KeyBackendUnavailable, match="unreadable"):
        backend.sign_many(made.ref, [])


def test_renewal_that_cannot_be_read_leaves_the_token_in_use(wire: Wire, backend: VaultKeyBackend, made: KeyInfo) -> None:
    session = backend.session
    session.ends_at, session.renew_at = time.monotonic() + 600, 0.0
    answering(wire, "/renew-self", b"<html>")
    assert backend.find(made.ref.name, key_id=made.ref.key_id) == made
    assert session.renew_at > time.monotonic()
