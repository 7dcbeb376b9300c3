"""Create keys: `execute` calls the backend, `record` writes the result. The phase `reserve` is
keys.lifecycle.claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from db.clock import database_now
from db.rows import save_fields
from db.tolerance import CLOCK_TOLERANCE
from keys.backends.base import KeyInfo, KeyRef
from keys.errors import KeyBackendError, KeyBackendNotConfigured, KeyMadeTwice, KeyMismatch, KeyOperationRefused
from keys.models import Key
from keys.public_keys import blocked_keys
from keys.registry import get_key_backend
from keys.spec import KeySpec, spki_der, spki_sha256

# Keys made between two renewals of the caller's lease: 16 RSA-4096 keys take a loaded machine some 10 s, 500 others one.
SLOW_AT_ONCE, AT_ONCE = 16, 500


def make_keys(keys: Sequence[Key], *, between: Callable[[], object] | None = None) -> dict[UUID, KeyInfo | KeyBackendError]:
    """Make or rotate each key (`execute`), or find the one that its claim made before a crash. No transaction may be open.

    Returns one result for each key: what was made, or the error that says whether to try again. Raises no KeyBackendError.
    `between` is called after each part of a long batch, so that the caller can renew its lease.
    """
    if connection.in_atomic_block:
        raise RuntimeError("make_keys() talks to a key backend and must not be called inside a transaction.")
    # 1. Without those whose destruction was requested since they were claimed.
    results: dict[UUID, KeyInfo | KeyBackendError] = {}
    ended = _ended(keys)
    # 2. Make the others, part by part.
    for part in _parts([key for key in keys if key.pk not in ended]):
        results |= _make_in(part[0].backend, part)
        if between is not None:
            between()
    # 3. Look again. A key that was destroyed while it was being made may exist in the backend now, and has to be destroyed once
    #    more. The new `made_at` shows that to the phase `record` of the destruction, which compares it.
    late = _ended(keys) - ended
    if late:
        Key.objects.filter(pk__in=late).update(state=Key.State.DESTROYING, made_at=database_now())
    refused = "The key {} was destroyed; none is made under its claim."
    return results | {
        key.pk: KeyOperationRefused(refused.format(key), next_step="Make a new request.") for key in keys if key.pk in ended | late
    }


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Yield parts of one backend each, small enough to be made within the caller's lease."""
    for alias in sorted({key.backend for key in keys}):
        ours = [key for key in keys if key.backend == alias]
        slow = [key for key in ours if KeySpec(key.spec).family == "rsa"]
        quick = [key for key in ours if KeySpec(key.spec).family != "rsa"]
        for group, size in ((slow, SLOW_AT_ONCE), (quick, AT_ONCE)):
            for first in range(0, len(group), size):
                yield group[first : first + size]


def _ended(keys: Sequence[Key]) -> set[UUID]:
    return set(Key.objects.filter(pk__in=[key.pk for key in keys], state__in=Key.ENDED).values_list("pk", flat=True))


def _make_in(alias: str, keys: Sequence[Key]) -> dict[UUID, KeyInfo | KeyBackendError]:
    """Make keys in one backend, in the order: find, note what is absent, create and rotate."""
    try:
        backend = get_key_backend(alias)
    except KeyBackendNotConfigured as exc:
        return {key.pk: exc for key in keys}
    # 1. What there is already: made by the same claim before a crash or by another worker, or somebody else's.
    results: dict[UUID, KeyInfo | KeyBackendError] = {}
    absent: list[Key] = []
    present: list[tuple[Key, KeyInfo]] = []
    for key, found in zip(keys, backend.find_many([(key.name, key.pk) for key in keys]), strict=True):
        if isinstance(found, KeyMadeTwice) and not _is_on_record(key):
            absent.append(key)  # neither pair is in use: `create` destroys both
        elif isinstance(found, KeyBackendError):
            results[key.pk] = found
        elif found is None or found.ref.version < key.version:
            absent.append(key)
        else:
            present.append((key, found))
    _read_absence([key for key, _ in present])
    results |= {key.pk: _judged(key, found, _adopted) for key, found in present}
    # 2. Record that there was no key yet, before the first create.
    _note_absence(absent)
    # 3. New names, and next versions of names that there are.
    fresh, later = [key for key in absent if key.version == 1], [key for key in absent if key.version > 1]
    created = backend.create_many([(key.name, KeySpec(key.spec), key.pk) for key in fresh]) if fresh else []
    versions = [(_version_before(key), key.version - 1, key.pk) for key in later]
    rotated = backend.rotate_many(versions) if versions else []
    return results | {key.pk: _judged(key, made, _checked) for key, made in zip([*fresh, *later], [*created, *rotated], strict=True)}


def _is_on_record(key: Key) -> bool:
    """Return whether a public key was recorded for the claim by now; the caller's row may be older."""
    return Key.objects.filter(pk=key.pk).exclude(spki_sha256="").exists()


def _version_before(key: Key) -> KeyRef:
    """Return the version before, of the same name."""
    assert key.follows_id is not None  # the claim of a later version names the key that it follows
    return KeyRef(key.backend, key.name, key.version - 1, f"{key.backend}/{key.name}", key.follows_id)


def _judged(key: Key, result: KeyInfo | KeyBackendError, judge: Callable[[Key, KeyInfo], KeyInfo]) -> KeyInfo | KeyBackendError:
    if isinstance(result, KeyBackendError):
        return result
    try:
        return judge(key, result)
    except KeyMismatch as exc:
        return exc


def _read_absence(keys: Sequence[Key]) -> None:
    """Read when the backend had no key yet, for keys that are there now. Another worker with the same claim notes that before it
    creates the key, so it is on record once the key is found, though it was not when this worker read the row.
    """
    unknown = {key.pk: key for key in keys if key.absent_seen_at is None}
    if unknown:
        rows = Key.objects.filter(pk__in=unknown, absent_seen_at__isnull=False)
        for pk, seen_at in rows.values_list("pk", "absent_seen_at"):
            unknown[pk].absent_seen_at = seen_at


def _note_absence(keys: Sequence[Key]) -> None:
    """Record that there is no key yet, before the first create: a key found later is this claim's only if it is younger."""
    fresh = [key.pk for key in keys if key.absent_seen_at is None]
    if not fresh:
        return
    now = database_now()
    Key.objects.filter(pk__in=fresh, absent_seen_at__isnull=True).update(absent_seen_at=now)
    for key in keys:
        key.absent_seen_at = key.absent_seen_at or now


def _adopted(key: Key, found: KeyInfo) -> KeyInfo:
    """Return a key that exists already, if this claim made it before a crash. Raises KeyMismatch."""
    if key.state == Key.State.ACTIVE and key.spki_sha256 == spki_sha256(found.public_key):
        return found
    # This claim's own key is younger than the moment at which the backend had none. (The tolerance is for the backend's clock.)
    # A key that somebody placed there before could be known to that person.
    if key.absent_seen_at is None or (found.created_at and found.created_at < key.absent_seen_at - CLOCK_TOLERANCE):
        raise KeyMismatch(
            f"A key named {key.name} (version {found.ref.version}) is in the backend {key.backend}, but this portal did not make it; "
            "it is not used.",
            next_step="Find out whose it is. The request can be made again; it will claim another name.",
        )
    return _checked(key, found)


def _checked(key: Key, found: KeyInfo) -> KeyInfo:
    if found.spec != key.spec or found.ref.version != key.version:
        raise KeyMismatch(
            f"The key {found.ref.locator} is {found.spec} version {found.ref.version}, not {key.spec} version {key.version}.",
            next_step="Find out who made it.",
        )
    if key.spki_sha256 and key.spki_sha256 != spki_sha256(found.public_key):
        raise KeyMismatch(
            f"The key {found.ref.locator} version {found.ref.version} is not the one on record for {key.name}; it was replaced.",
            next_step="Find out who replaced it in the backend before anything is signed with it.",
        )
    return found


def confirm_keys(made: Mapping[UUID, KeyInfo], *, now: datetime) -> list[Key]:
    """Write what was made (`record`). Needs an open transaction; the event is the caller's, under its own subject.

    Raises KeyMismatch when another public key is on record for a claim: what was recorded once never changes.
    """
    # 1. The keys, locked in id order. What is recorded once never changes: a backend that shows another public key for the same
    #    name and version had its key replaced.
    keys = {key.pk: key for key in Key.objects.select_for_update().filter(pk__in=made).order_by("pk")}
    for key_id, info in made.items():
        key, der = keys[key_id], spki_der(info.public_key)
        if info.ref.version != key.version or (key.spki_sha256 and key.spki_sha256 != spki_sha256(der)):
            raise KeyMismatch(
                f"The key {info.ref.locator} version {info.ref.version} is not the one on record for {key.name} version {key.version}.",
                next_step="Find out who replaced it in the backend before anything is signed with it.",
            )
        key.locator, key.spki_der, key.spki_sha256 = info.ref.locator, der, spki_sha256(der)
        key.evidence, key.made_at = dict(info.evidence), key.made_at or now
        if key.state == Key.State.CLAIMED:  # one that was blocked in the meantime stays so
            key.state = Key.State.ACTIVE
    # 2. A public key may have been blocked before the portal knew that it is its own. The read shares the lock on the public
    #    key's row, so that a block at this moment is seen here or finds the key's row afterwards.
    blocked = blocked_keys(key.spki_sha256 for key in keys.values())
    for key in keys.values():
        if key.state == Key.State.ACTIVE and key.spki_sha256 in blocked:
            key.state = Key.State.COMPROMISED
    save_fields(list(keys.values()), ["locator", "spki_der", "spki_sha256", "evidence", "made_at", "state"])
    return [keys[key_id] for key_id in made]
