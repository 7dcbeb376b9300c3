"""Use keys: signers that call the backend, for keys whose state in the database allows it now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from db.reads import read
from db.rows import partial_selection
from keys.backends.base import KeyRef
from keys.errors import KeyBackendError, KeyBackendNotConfigured, KeyNotFound, KeyOperationRefused
from keys.models import Key
from keys.registry import get_key_backend

T = TypeVar("T")
R = TypeVar("R")


def ref_of(key: Key) -> KeyRef:
    return KeyRef(key.backend, key.name, key.version, key.locator, key.pk, bytes(key.spki_der or b""))


def private_key_for(key: Key, *, for_status: bool = False) -> Any:
    """Return a pyca key that signs in the backend. Raises KeyBackendError, also for a key that is not active.

    `for_status`: it signs a revocation status (CRL, OCSP), which must go on after the key was reported as compromised.
    """
    _check(key, _states([key]), for_status=for_status)
    return get_key_backend(key.backend).private_key(ref_of(key))


def private_keys_for(keys: Sequence[Key]) -> dict[UUID, Any]:
    """Return for each key, by its id, what `private_key_for` returns or the KeyBackendError that it
    raises; looked up together.
    """
    states = _states(keys)
    found: dict[UUID, Any] = {}
    for key in keys:
        try:
            _check(key, states, for_status=False)
        except KeyBackendError as exc:
            found[key.pk] = exc
    for alias in {key.backend for key in keys}:
        usable = [key for key in keys if key.backend == alias and key.pk not in found]
        try:
            signers = get_key_backend(alias).private_keys([ref_of(key) for key in usable])
        except KeyBackendNotConfigured as exc:
            signers = [exc] * len(usable)
        found |= {key.pk: signer for key, signer in zip(usable, signers, strict=True)}
    return found


def side_by_side(alias: str, items: Sequence[T], act: Callable[[T], R]) -> list[R | KeyBackendError]:
    """Call `act` for each item: several at a time where the backend is behind a network, else one after the other."""
    try:
        backend = get_key_backend(alias)
    except KeyBackendNotConfigured as exc:
        return [exc for _ in items]
    return backend.side_by_side(items, act)


def sign_many_with(key: Key, messages: Sequence[bytes], *, for_status: bool = False) -> list[bytes]:
    """Return signatures over several messages with one key, in one call where the backend can.

    No messages: only checks that the key could be used. Raises KeyBackendError as `private_key_for`.
    """
    _check(key, _states([key]), for_status=for_status)
    return get_key_backend(key.backend).sign_many(ref_of(key), messages)


def sign_digest_with(key: Key, digest: bytes, *, for_status: bool = False) -> bytes:
    """Sign a digest as `KeyBackend.sign_digest` does. Raises KeyBackendError as `private_key_for`."""
    _check(key, _states([key]), for_status=for_status)
    return get_key_backend(key.backend).sign_digest(ref_of(key), digest)


def _states(keys: Sequence[Key]) -> dict[UUID, str]:
    """Return the states as they are now in the database: the callers' rows may be older than a report of compromise."""
    return {key.pk: key.state for key in read(partial_selection(Key, ("id", "state"), id={key.pk for key in keys}))}


def _check(key: Key, states: Mapping[UUID, str], *, for_status: bool) -> None:
    state = states.get(key.pk)
    if state == Key.State.ACTIVE or (for_status and state == Key.State.COMPROMISED):
        return
    # What this process keeps of the key goes too, so that no later call signs with it from memory.
    get_key_backend(key.backend).forget(ref_of(key))
    if state is None or state == Key.State.DESTROYED:
        raise KeyNotFound(f"The key {key} was destroyed; nothing is signed with it.", next_step="Ask for a certificate with a new key.")
    raise KeyOperationRefused(f"The key {key} is {state}; nothing is signed with it.", next_step="Ask for a certificate with a new key.")
