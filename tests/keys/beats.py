"""The three beats of a key, as a caller runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from db.clock import database_now
from keys.backends.base import KeyInfo
from keys.errors import KeyBackendError
from keys.lifecycle.claim import NewKey, claim_keys
from keys.lifecycle.create import confirm_keys, make_keys
from keys.models import Key
from keys.spec import KeySpec


def wanted(claimed_for: str, base_name: str = "api-example-com", *, follows: Key | None = None, **other: Any) -> NewKey:
    values = {"spec": KeySpec.EC_P256, "backend": "twin", "purpose": "leaf"} | other
    return NewKey(claimed_for=claimed_for, base_name=base_name, follows=follows.pk if follows else None, **values)


def claim(*ones: NewKey) -> list[Key]:
    with transaction.atomic():
        return claim_keys(ones, now=database_now())


def confirm(made: dict[Any, KeyInfo | KeyBackendError]) -> list[Key]:
    with transaction.atomic():
        return confirm_keys({key_id: info for key_id, info in made.items() if isinstance(info, KeyInfo)}, now=database_now())


def make(*ones: NewKey) -> Sequence[Key]:
    """All three beats; what cannot be made fails the test."""
    keys = claim(*ones)
    made = make_keys(keys)
    assert [made[key.pk] for key in keys if isinstance(made[key.pk], KeyBackendError)] == []
    by_id = {key.pk: key for key in confirm(made)}
    return [by_id[key.pk] for key in keys]


def error_of(key: Key) -> KeyBackendError:
    """What beat 2 says of a key that it must not answer."""
    result = make_keys([key])[key.pk]
    assert isinstance(result, KeyBackendError)
    return result
