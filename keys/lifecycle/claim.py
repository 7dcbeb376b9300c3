"""Claim keys: the phase `reserve` takes their names in the database, before any backend is called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db.models import Exists, OuterRef
from django.utils.text import slugify

from db.rows import Lock, insert_missing, select, update
from keys.models import Key, KeyName
from keys.registry import get_key_backend
from keys.spec import KeySpec

MAX_NAME = 100
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # what slugify leaves as it is, which is nearly every host name


class NewKey(NamedTuple):
    """A key to be claimed. `claimed_for` makes the claim idempotent: the same claim again returns the same row.

    `follows` is the id of the key that this one takes the place of (renewal with a new key): it becomes that key's next
    version under the same name where that can be, and a key of a new name where not (see `claim_keys`).
    """

    claimed_for: str
    base_name: str
    spec: KeySpec
    backend: str
    purpose: str
    follows: UUID | None = None


def claim_keys(wanted: Sequence[NewKey], *, now: datetime) -> list[Key]:
    """Take a name and version for each key before the backend is called (`reserve`). Needs an open transaction.

    A name that is taken gets -2, -3 and so on; one that was destroyed counts as taken permanently. One that `follows` another key
    gets the other's name and next version (row.version - 1 is the version that it rotates from), and a name of its own when
    the other is not active (compromised, destroyed), is not the latest of its name, is of another type or backend, or when
    the backend does not rotate.
    """
    # The same claim again, after a crash or by a second worker, finds its row: no second key is made for a request.
    claimed = _claimed(wanted)
    while missing := [one for one in wanted if one.claimed_for not in claimed]:
        # In the order of their names, so that two batches with the same names cannot wait for each other.
        rows = [_row(one, place, now) for one, place in _places(missing)]
        insert_missing(sorted(rows, key=lambda key: (key.backend, key.name, key.version)))
        # A name, version or claim that another worker took in the meantime was not inserted: look again.
        claimed |= _claimed(missing)
    return [claimed[one.claimed_for] for one in wanted]


def _claimed(wanted: Sequence[NewKey]) -> dict[str, Key]:
    """Return the keys that have these claims already, by claim."""
    return {key.claimed_for: key for key in select(Key, claimed_for=[one.claimed_for for one in wanted])}


def _row(one: NewKey, place: _Place, now: datetime) -> Key:
    return Key(
        id=uuid4(),
        backend=one.backend,
        name=place.name,
        version=place.version,
        follows_id=one.follows,
        spec=one.spec,
        purpose=one.purpose,
        claimed_for=one.claimed_for,
        claimed_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    version: int


def _places(wanted: Sequence[NewKey]) -> Iterable[tuple[NewKey, _Place]]:
    """Yield for each the next version of the followed key's name, or a name that no key has."""
    rotated = _next_versions(wanted)
    for one, place in rotated.items():
        yield one, place
    fresh = [one for one in wanted if one not in rotated]
    for one, name in zip(fresh, take_names([(one.backend, one.base_name) for one in fresh]), strict=True):
        yield one, _Place(name, 1)


def _next_versions(wanted: Sequence[NewKey]) -> dict[NewKey, _Place]:
    """Return the place of each whose followed key can be rotated. That key is locked, so that it is not destroyed before the commit."""
    ids = {one.follows for one in wanted if one.follows}
    if not ids:
        return {}
    list(Key.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))
    # Read after the lock: what another worker claimed during the wait is seen.
    later = Key.objects.filter(backend=OuterRef("backend"), name=OuterRef("name"), version__gt=OuterRef("version"))
    latest = {key.pk: key for key in Key.objects.filter(~Exists(later), pk__in=ids, state=Key.State.ACTIVE)}
    places: dict[NewKey, _Place] = {}
    for one in wanted:
        old = latest.pop(one.follows, None) if one.follows else None  # popped: a second one that follows it gets a new name
        if old and (old.backend, old.spec) == (one.backend, one.spec) and get_key_backend(old.backend).capabilities.rotates:
            places[one] = _Place(old.name, old.version + 1)
    return places


def key_name(common_name: str) -> str:
    """Return `api-example-com` for api.example.com; a wildcard's star becomes `wildcard`."""
    name = common_name.replace("*", "wildcard").replace(".", "-").replace(":", "-")
    return (name if _SLUG.fullmatch(name) else slugify(name))[:MAX_NAME] or "key"


def take_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each (backend, base name), in order: the base itself the first time, then -2, -3 and so on.

    Needs an open transaction; others that take the same base wait for its end. A name may still be
    taken, by a base that ends in a number: inserting it shows that, and the caller takes another one.
    """
    counts = Counter(wanted)
    # In one order, so that two batches cannot wait for each other; all inserts come before the locks.
    insert_missing([KeyName(backend=backend, base=base, last_number=0) for backend, base in sorted(counts)])
    found = select(KeyName, lock=Lock.UPDATE, backend={pair[0] for pair in counts}, base={pair[1] for pair in counts})
    counters = {(row.backend, row.base): row for row in found if (row.backend, row.base) in counts}
    names = []
    for pair in wanted:
        counters[pair].last_number += 1
        number = counters[pair].last_number
        names.append(pair[1] if number == 1 else f"{pair[1]}-{number}")
    update(KeyName, {row.pk: {"last_number": row.last_number} for row in counters.values()})
    return names
