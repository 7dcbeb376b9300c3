"""Destroy keys: the intent, the call of the backend, the receipt. For compromised keys, and keys that never got a certificate.

    with transaction.atomic():
        intended = intend_destruction(ids, reason=..., certificates={key_id: ["cert-..."]}, actor=actor, now=now)
    keys = [key for key in intended.values() if isinstance(key, Key)]
    done = destroy_made(keys)                                                                # no transaction is open
    with transaction.atomic():
        confirm_destroyed([key for key in keys if done[key.pk] is None], now=now)

From the intent on nothing is signed with the key. `execute` needs a login that may destroy (docs/vault/destroy.hcl), which no
worker of another queue has. `finish_destructions()` completes what a crash or a missing login has left open.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from django.db import connection, transaction

from audit.events import EventType
from audit.log import Actor, Event, Value, record_many
from db.clock import database_now
from db.rows import save_fields
from keys.errors import KeyBackendError, KeyNotFound, KeyOperationRefused
from keys.models import Key
from keys.registry import get_key_backend
from keys.use import ref_of

_DESTROYABLE = (Key.Purpose.LEAF, Key.Purpose.OCSP)
PAGE = 100
MOST_SECONDS = 120.0  # of one run
_NAMED_IN_RECEIPT = 30  # certificates; an event's field holds 2,048 bytes


def intend_destruction(
    ids: Collection[UUID], *, reason: str, certificates: Mapping[UUID, Sequence[str]], actor: Actor, now: datetime
) -> dict[UUID, Key | KeyBackendError]:
    """Write for each key that it is to be destroyed (`reserve`), or refuse. Needs an open transaction.

    `certificates`: ids of those that each key served. The caller has checked that none of them is in use any more.
    Returns by id the key, or the error for a refused one: a key of a CA, and a name of which another version is neither
    destroyed nor in the same batch, because a backend destroys a name with all its versions. A key whose destruction was begun
    before is returned again; one that is destroyed already is left out.
    """
    # The rows are locked, in id order, as a rotation locks the key that it follows: no new version begins under these names.
    keys = list(Key.objects.select_for_update().filter(pk__in=ids).order_by("pk"))
    missing = set(ids) - {key.pk for key in keys}
    results: dict[UUID, Key | KeyBackendError] = {key_id: KeyNotFound(f"There is no key {key_id}.") for key_id in missing}
    in_use = _other_versions(keys)
    begun = []
    for key in keys:
        if key.state == Key.State.DESTROYED:
            continue
        results[key.pk] = refusal = _refusal(key, in_use) or key
        if refusal is key and key.state != Key.State.DESTROYING:
            key.state = Key.State.DESTROYING
            key.destruction = {
                "reason": reason[:200],
                "by": [actor.kind, actor.name],
                "certificates": list(certificates.get(key.pk, ())),
                "intended_at": now.isoformat(),
            }
            begun.append(key)
    save_fields(begun, ["state", "destruction"])
    return results


def _other_versions(keys: Sequence[Key]) -> set[tuple[str, str]]:
    """Return the names of which a version outside the batch is neither destroyed nor about to be. The batch's rows are locked."""
    names = {(key.backend, key.name) for key in keys}
    rows = Key.objects.filter(name__in={name for _, name in names}).exclude(state__in=Key.ENDED).exclude(pk__in=[key.pk for key in keys])
    return names & set(rows.values_list("backend", "name"))


def _refusal(key: Key, in_use: Collection[tuple[str, str]]) -> KeyOperationRefused | None:
    if key.purpose not in _DESTROYABLE:
        return KeyOperationRefused(
            f"{key} is the {key.get_purpose_display()}'s key; it is not destroyed from here.",
            next_step="Retire the issuer first, then destroy its key in the backend by hand, before witnesses.",
        )
    if (key.backend, key.name) in in_use:
        return KeyOperationRefused(
            f"Another version of {key} is not destroyed, and both would go together.",
            next_step="Replace the certificates of the other versions first, or destroy all versions at once.",
        )
    return None


def destroy_made(keys: Sequence[Key]) -> dict[UUID, KeyBackendError | None]:
    """Destroy each key in its backend (`execute`); None where it is gone for certain. No transaction may be open.

    Where the backend was never called for a claim, nothing is destroyed: a key of that name is somebody else's.
    """
    if connection.in_atomic_block:
        raise RuntimeError("destroy_made() talks to a key backend and must not be called inside a transaction.")
    results: dict[UUID, KeyBackendError | None] = {}
    for key in keys:
        try:
            if key.state != Key.State.DESTROYING:
                raise KeyOperationRefused(f"{key} is {key.state}; its destruction was not begun.")
            if key.absent_seen_at is not None or key.made_at is not None:
                get_key_backend(key.backend).destroy(ref_of(key))
            results[key.pk] = None
        except KeyBackendError as exc:
            results[key.pk] = exc
    return results


def confirm_destroyed(destroyed: Sequence[Key], *, now: datetime) -> list[Key]:
    """Record that each key is destroyed, with the receipt as an event of its own subject. Needs an open transaction.

    `destroyed`: the rows as `execute` had them. A key that a late worker has made once more since is not confirmed, and stays
    open. Returns the keys that this call confirmed. Their names stay claimed permanently.
    """
    seen = {key.pk: key.made_at for key in destroyed}
    rows = Key.objects.select_for_update().filter(pk__in=seen, state=Key.State.DESTROYING).order_by("pk")
    keys = [key for key in rows if key.made_at == seen[key.pk]]
    for key in keys:
        key.state, key.destroyed_at = Key.State.DESTROYED, now
    save_fields(keys, ["state", "destroyed_at"])
    record_many([_receipt(key, now) for key in keys])
    return keys


def _receipt(key: Key, now: datetime) -> Event:
    kind, name = key.destruction["by"]
    served = sorted(key.destruction["certificates"])
    data: dict[str, Value] = {
        "backend": key.backend,
        "key": key.locator or key.name,
        "version": key.version,
        "spki_sha256": key.spki_sha256,
        "reason": key.destruction["reason"],
        "certificates": served[:_NAMED_IN_RECEIPT],
        "certificates_count": len(served),
        "certificates_sha256": hashlib.sha256("\n".join(served).encode()).hexdigest(),
    }
    return Event(EventType.KEY_DESTROYED, f"key:{key.pk}", Actor(kind, name), now, data)


def destroy_key(key_id: UUID, *, reason: str, certificates: Sequence[str], actor: Actor) -> Key | None:
    """Run the three phases for one key, for a person who waits. Returns None when it is destroyed already.
    Raises KeyBackendError.
    """
    with transaction.atomic():
        intended = intend_destruction([key_id], reason=reason, certificates={key_id: certificates}, actor=actor, now=database_now())
    key = intended.get(key_id)
    if key is None:
        return None
    if isinstance(key, KeyBackendError):
        raise key
    error = destroy_made([key])[key_id]
    if error is not None:
        raise error
    with transaction.atomic():
        return next(iter(confirm_destroyed([key], now=database_now())), None)


def finish_destructions(*, most_seconds: float = MOST_SECONDS) -> dict[UUID, KeyBackendError | None]:
    """Execute and record all open destructions. Needs a login that may destroy.

    Returns by key id None for a key that is destroyed now, else the error. A key that cannot be destroyed does not stop the
    others. A backend that does not answer is left out for the rest of the run: the result has the error of one of its keys.
    """
    results: dict[UUID, KeyBackendError | None] = {}
    silent: set[str] = set()
    until = time.monotonic() + most_seconds
    for key in open_destructions():
        if time.monotonic() >= until:
            break
        if key.backend in silent:
            continue
        error = destroy_made([key])[key.pk]
        if error is None:
            with transaction.atomic():
                confirm_destroyed([key], now=database_now())
        elif error.retryable:
            silent.add(key.backend)
        results[key.pk] = error
    return results


def open_destructions() -> Iterator[Key]:
    """Yield the open destructions page by page, from a random one on, so that a run that ends early does not always leave the same ones."""
    open_ones, start = Key.objects.filter(state=Key.State.DESTROYING).order_by("pk"), uuid4()
    for half in (open_ones.filter(pk__gte=start), open_ones.filter(pk__lt=start)):
        page = list(half[:PAGE])
        while page:
            yield from page
            page = list(half.filter(pk__gt=page[-1].pk)[:PAGE])
