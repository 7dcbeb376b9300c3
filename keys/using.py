"""A key is used: a signer that asks the backend, for keys whose state allows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keys.backends.base import KeyRef
from keys.models import Key
from keys.registry import get_key_backend


def ref_of(key: Key) -> KeyRef:
    return KeyRef(key.backend, key.name, key.version, key.locator, key.pk)


def private_key_for(key: Key) -> Any:
    """A pyca key that signs in the backend. Raises KeyBackendError."""
    return get_key_backend(key.backend).private_key(ref_of(key))


def sign_many_with(key: Key, messages: Sequence[bytes]) -> list[bytes]:
    """Signatures over several messages with one key, in one call where the backend can. Raises KeyBackendError."""
    return get_key_backend(key.backend).sign_many(ref_of(key), messages)
