"""A key is used: a signer that asks the backend, for keys whose state in the database allows it now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from audit.unit_of_work import Afterwards, ask_afterwards
from db.backend import dialect, on_postgresql
from db.sql import Query, ask, text_list
from keys.backends.base import KeyRef
from keys.errors import KeyBackendError, KeyBackendNotConfigured, KeyNotFound, KeyOperationRefused
from keys.models import Key
from keys.registry import get_key_backend

T = TypeVar("T")
R = TypeVar("R")


def ref_of(key: Key) -> KeyRef:
    return KeyRef(key.backend, key.name, key.version, key.locator, key.pk, bytes(key.spki_der or b""))


def private_key_for(key: Key, *, for_status: bool = False) -> Any:
    """A pyca key that signs in the backend. Raises KeyBackendError, also for a key that is not active.

    `for_status`: it signs a revocation status (CRL, OCSP), which must go on after the key was reported as compromised.
    """
    _check(key, _states([key]), for_status=for_status)
    return get_key_backend(key.backend).private_key(ref_of(key))


def private_keys_for(keys: Sequence[Key]) -> dict[UUID, Any]:
    """For each key, by its id, what `private_key_for` answers or the KeyBackendError that it raises; asked for all at once."""
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
    """`act` on each as the backend likes it: several at a time behind a network, one after the other here."""
    try:
        backend = get_key_backend(alias)
    except KeyBackendNotConfigured as exc:
        return [exc for _ in items]
    return backend.side_by_side(items, act)


def may_sign(key: Key) -> Afterwards:
    """Asks, when the open transaction is committed, what `sign_many_with` must know of a key. Raises KeyBackendNotConfigured."""
    return ask_afterwards(_may_sign_queries(key))


def _may_sign_queries(key: Key) -> list[Query]:
    presence = get_key_backend(key.backend).presence_query(ref_of(key))
    return [_states_query([key]), *([presence] if presence else [])]


def sign_many_with(key: Key, messages: Sequence[bytes], *, for_status: bool = False, asked: Afterwards | None = None) -> list[bytes]:
    """Signatures over several messages with one key, in one call where the backend can. Raises KeyBackendError as `private_key_for`.

    `asked`: what `may_sign` asked for this key.
    """
    backend, ref = get_key_backend(key.backend), ref_of(key)
    states, *present = asked.answers() if asked else ask(*_may_sign_queries(key))
    _check(key, _by_id(states), for_status=for_status)
    return backend.sign_many(ref, messages, present=any(present))


def sign_digest_with(key: Key, digest: bytes, *, for_status: bool = False) -> bytes:
    """As `KeyBackend.sign_digest`. Raises KeyBackendError as `private_key_for`."""
    _check(key, _states([key]), for_status=for_status)
    return get_key_backend(key.backend).sign_digest(ref_of(key), digest)


def _states(keys: Sequence[Key]) -> dict[UUID, str]:
    """As they are now in the database: the callers' rows may be older than a report of compromise."""
    return _by_id(ask(_states_query(keys))[0])


def _states_query(keys: Sequence[Key]) -> Query:
    """(Asked at each signature: the ORM costs several times the answer.)"""
    as_stored = [key.pk if on_postgresql() else key.pk.hex for key in keys]
    return f"SELECT id, state FROM keys_key WHERE {_AMONG[dialect()]}", [text_list(map(str, as_stored))]  # noqa: S608 - constants


def _by_id(rows: Iterable[tuple[Any, str]]) -> dict[UUID, str]:
    return {UUID(str(pk)): state for pk, state in rows}


_AMONG = {
    "postgresql": "id = ANY(ARRAY(SELECT CAST(t AS uuid) FROM jsonb_array_elements_text(CAST(%s AS jsonb)) AS t))",
    "sqlite": "id IN (SELECT value FROM json_each(%s))",
}


def _check(key: Key, states: Mapping[UUID, str], *, for_status: bool) -> None:
    state = states.get(key.pk)
    if state == Key.State.ACTIVE or (for_status and state == Key.State.COMPROMISED):
        return
    get_key_backend(key.backend).forget(ref_of(key))
    if state is None or state == Key.State.DESTROYED:
        raise KeyNotFound(f"The key {key} was destroyed; nothing is signed with it.", next_step="Ask for a certificate with a new key.")
    raise KeyOperationRefused(f"The key {key} is {state}; nothing is signed with it.", next_step="Ask for a certificate with a new key.")
