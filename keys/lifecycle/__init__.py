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
