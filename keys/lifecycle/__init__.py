"""A key's life: claimed, made, recorded, used, compromised, destroyed. In batches, in the phases that its callers need.

    with transaction.atomic():                                    # reserve: the intent
        keys = claim_keys([NewKey(...)], now=now)                 # `follows=old_key.pk` in it requests a rotation
    made = make_keys(keys)                                        # execute: the backend; no transaction is open
    with transaction.atomic():                                    # record: the result
        confirm_keys({id: info for id, info in made.items() if isinstance(info, KeyInfo)}, now=now)

New keys and rotated ones go through the same three calls and may be in one batch. The caller records the events, under its
own subject: `key:generated` for `key.version == 1`, `key:rotated` for a later one (data as for the former, with
`from_version`, which is `key.version - 1`). How a key is destroyed, in three phases as well: keys.lifecycle.destroy.
"""

from __future__ import annotations

from keys.lifecycle.claim import NewKey, claim_keys
from keys.lifecycle.create import confirm_keys, make_keys
from keys.lifecycle.destroy import (
    confirm_destroyed,
    destroy_key,
    destroy_made,
    finish_destructions,
    intend_destruction,
    open_destructions,
)
from keys.lifecycle.names import key_name
from keys.public_keys import (
    block_public_key,
    blocked_keys,
    lock_public_keys,
    mark_compromised,
    record_public_keys,
    recorded_keys,
    unblock_public_key,
)
from keys.use import private_key_for, private_keys_for, ref_of, side_by_side, sign_many_with

__all__ = [
    "NewKey",
    "block_public_key",
    "blocked_keys",
    "claim_keys",
    "confirm_destroyed",
    "confirm_keys",
    "destroy_key",
    "destroy_made",
    "finish_destructions",
    "intend_destruction",
    "key_name",
    "lock_public_keys",
    "make_keys",
    "mark_compromised",
    "open_destructions",
    "private_key_for",
    "private_keys_for",
    "record_public_keys",
    "recorded_keys",
    "ref_of",
    "side_by_side",
    "sign_many_with",
    "unblock_public_key",
]
