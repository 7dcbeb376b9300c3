"""The register of public keys: a key belongs to the first team that sent it, and a blocked key is refused at every channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from audit.events import EventType
from audit.log import Actor, record
from db.reads import Read, read
from db.rows import Lock, by_key, select, stored
from keys.models import Key, PublicKey


def record_public_keys(owners: Mapping[str, str], *, now: datetime) -> dict[str, PublicKey]:
    """Record the team of each public key, by SPKI hash, unless one is recorded already.

    Returns the rows as recorded, locked FOR SHARE until the open transaction ends.
    """
    return by_key(read(recorded_keys(owners, now=now))) if owners else {}


def recorded_keys(owners: Mapping[str, str], *, now: datetime) -> Read[list[PublicKey]]:
    """Return the rows of `record_public_keys`, to be sent with other reads. There is at least one key."""
    # Sorted, so that two batches cannot wait for each other.
    return stored([PublicKey(spki_sha256=spki, team=team, recorded_at=now) for spki, team in sorted(owners.items())])


def lock_public_keys(spkis: Iterable[str]) -> dict[str, PublicKey]:
    """Return the recorded ones of these public keys; none can be blocked before the open transaction ends."""
    return by_key(select(PublicKey, lock=Lock.SHARE, spki_sha256=set(spkis)))


def blocked_keys(spkis: Iterable[str]) -> set[str]:
    """Return those that are blocked; none of the others can be blocked before the open transaction ends."""
    return {spki for spki, row in lock_public_keys(spkis).items() if row.is_blocked}


def mark_compromised(spki: str, reason: str, *, now: datetime, actor: Actor) -> bool:
    """Refuse a recorded public key permanently, at every channel. Returns whether it was not
    blocked before. Needs an open transaction.
    """
    # FOR UPDATE waits for everybody who shares the row: those who record a key, a CSR or a certificate on it. What they commit
    # is visible to the caller's next query, so that no certificate on the key is overlooked.
    row = PublicKey.objects.select_for_update().filter(pk=spki).first()
    if row is None or row.blocked_at is not None:
        return False
    PublicKey.objects.filter(pk=spki).update(blocked_at=now, blocked_reason=reason[:200])
    Key.objects.filter(spki_sha256=spki, state=Key.State.ACTIVE).update(state=Key.State.COMPROMISED)
    record(EventType.KEY_COMPROMISED, subject=f"public_key:{spki}", actor=actor, at=now, data={"spki_sha256": spki, "reason": reason[:200]})
    return True


def block_public_key(spki: str, *, team: str, reason: str, now: datetime, actor: Actor) -> bool:
    """Block a public key whether it was seen before or not, such as that of a private key that somebody pasted."""
    # The row is made first where it is missing: a lock on a row that does not exist would hold nobody up.
    PublicKey.objects.bulk_create([PublicKey(spki_sha256=spki, team=team, recorded_at=now)], ignore_conflicts=True)
    return mark_compromised(spki, reason, now=now, actor=actor)


def unblock_public_key(spki: str, reason: str, *, now: datetime, actor: Actor) -> bool:
    """Take a block back: the key may be used again at every channel. Returns False for a key that is not blocked.

    Effects: the row of the public key, the state of the portal's own keys (compromised back to
    active; a destroyed key stays so) and `key:unblocked`. Needs an open transaction.
    """
    row = PublicKey.objects.select_for_update().filter(pk=spki).first()
    if row is None or row.blocked_at is None:
        return False
    data = {"spki_sha256": spki, "reason": reason[:200], "blocked_reason": row.blocked_reason}
    PublicKey.objects.filter(pk=spki).update(blocked_at=None, blocked_reason="")
    Key.objects.filter(spki_sha256=spki, state=Key.State.COMPROMISED).update(state=Key.State.ACTIVE)
    record(EventType.KEY_UNBLOCKED, subject=f"public_key:{spki}", actor=actor, at=now, data=data)
    return True
