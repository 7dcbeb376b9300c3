"""A key is used: a signer that asks the backend, for keys whose state in the database allows it now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection

from keys.backends.base import KeyRef
from keys.errors import KeyNotFound, KeyOperationRefused
from keys.models import Key
from keys.registry import get_key_backend


def ref_of(key: Key) -> KeyRef:
    return KeyRef(key.backend, key.name, key.version, key.locator, key.pk)


def private_key_for(key: Key, *, for_status: bool = False) -> Any:
    """A pyca key that signs in the backend. Raises KeyBackendError, also for a key that is not active.

    `for_status`: it signs a revocation status (CRL, OCSP), which must go on after the key was reported as compromised.
    """
    _check_state(key, for_status=for_status)
    return get_key_backend(key.backend).private_key(ref_of(key))


def sign_many_with(key: Key, messages: Sequence[bytes], *, for_status: bool = False) -> list[bytes]:
    """Signatures over several messages with one key, in one call where the backend can. Raises KeyBackendError as `private_key_for`."""
    _check_state(key, for_status=for_status)
    return get_key_backend(key.backend).sign_many(ref_of(key), messages)


def _check_state(key: Key, *, for_status: bool) -> None:
    """As it is now in the database: the caller's row may be older than a report of compromise."""
    with connection.cursor() as cursor:  # asked at each signature: the ORM costs several times the answer
        cursor.execute("SELECT state FROM keys_key WHERE id = %s", [key.pk if connection.vendor == "postgresql" else key.pk.hex])
        state = (cursor.fetchone() or (None,))[0]
    if state == Key.State.ACTIVE or (for_status and state == Key.State.COMPROMISED):
        return
    get_key_backend(key.backend).forget(ref_of(key))
    if state is None or state == Key.State.DESTROYED:
        raise KeyNotFound(f"The key {key} was destroyed; nothing is signed with it.", next_step="Ask for a certificate with a new key.")
    raise KeyOperationRefused(f"The key {key} is {state}; nothing is signed with it.", next_step="Ask for a certificate with a new key.")
