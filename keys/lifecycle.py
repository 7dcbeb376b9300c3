"""A key's life: claimed, made, recorded, used, compromised, destroyed. Batch-wise, in the beats that its callers need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.utils.text import slugify

from audit.clock import database_now
from audit.events import EventType
from audit.log import Actor, record
from keys.backends.base import KeyInfo, KeyRef
from keys.errors import KeyBackendError, KeyMismatch
from keys.models import Key, PublicKey
from keys.registry import get_key_backend
from keys.spec import KeySpec, spki_der, spki_sha256

CLOCK_TOLERANCE = timedelta(minutes=5)  # between the database's clock and the backend's
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class KeyWanted:
    """A key to be claimed. `claimed_for` makes the claim idempotent: the same again answers the same row."""

    claimed_for: str
    base_name: str
    spec: KeySpec
    backend: str
    purpose: str


@dataclass(frozen=True, slots=True)
class RecordedAs:
    """Whose a public key is, and whether it is blocked."""

    team: str
    blocked: bool


def key_name(common_name: str) -> str:
    """`api-example-com` for api.example.com; a wildcard's star becomes `wildcard`."""
    return slugify(common_name.replace("*", "wildcard").replace(".", "-").replace(":", "-"))[:MAX_NAME] or "key"


def claim_keys(wanted: Sequence[KeyWanted], *, now: datetime) -> list[Key]:
    """Beat 1: take a name for each key before the backend is asked for anything. Needs an open transaction.

    A name that is taken gets -2, -3 and so on; one that was destroyed counts as taken for ever.
    """
    claimed = _claims(wanted)
    missing = [one for one in wanted if one.claimed_for not in claimed]
    while missing:
        names = _free_names(missing)
        Key.objects.bulk_create(
            [
                Key(
                    id=uuid4(),
                    backend=one.backend,
                    name=name,
                    spec=one.spec,
                    purpose=one.purpose,
                    claimed_for=one.claimed_for,
                    claimed_at=now,
                )
                for one, name in zip(missing, names, strict=True)
            ],
            ignore_conflicts=True,  # a name or claim that another worker took meanwhile: look again
        )
        claimed = _claims(wanted)
        missing = [one for one in wanted if one.claimed_for not in claimed]
    return [claimed[one.claimed_for] for one in wanted]


def _claims(wanted: Sequence[KeyWanted]) -> dict[str, Key]:
    return {key.claimed_for: key for key in Key.objects.filter(claimed_for__in=[one.claimed_for for one in wanted])}


def _free_names(wanted: Sequence[KeyWanted]) -> list[str]:
    """For each the base name or the first free number after it, also among themselves."""
    taken: dict[tuple[str, str], int] = {}
    for backend in {one.backend for one in wanted}:
        for base in {one.base_name for one in wanted if one.backend == backend}:
            taken[(backend, base)] = _last_number(backend, base)
    names = []
    for one in wanted:
        taken[(one.backend, one.base_name)] += 1
        number = taken[(one.backend, one.base_name)]
        names.append(one.base_name if number == 1 else f"{one.base_name}-{number}")
    return names


def _last_number(backend: str, base: str) -> int:
    """The highest number in use for a base name: 0 for none, 1 for the plain name."""
    names = Key.objects.filter(backend=backend, name__startswith=base).values_list("name", flat=True)
    numbers = [0]
    for name in names:
        rest = name[len(base) :]
        if rest == "":
            numbers.append(1)
        elif rest.startswith("-") and rest[1:].isdigit():
            numbers.append(int(rest[1:]))
    return max(numbers)


def make_keys(keys: Sequence[Key]) -> dict[UUID, KeyInfo | KeyBackendError]:
    """Beat 2: have each key made, or find the one that this very claim made before a crash. No transaction may be open."""
    if connection.in_atomic_block:
        raise RuntimeError("make_keys() talks to a key backend and must not be called inside a transaction.")
    results: dict[UUID, KeyInfo | KeyBackendError] = {}
    for alias in {key.backend for key in keys}:
        results |= _make_in(alias, [key for key in keys if key.backend == alias])
    return results


def _make_in(alias: str, keys: Sequence[Key]) -> dict[UUID, KeyInfo | KeyBackendError]:
    backend = get_key_backend(alias)
    results: dict[UUID, KeyInfo | KeyBackendError] = {}
    absent: list[Key] = []
    for key in keys:
        try:
            found = backend.find(key.name, key_id=key.pk)
            if found is None:
                absent.append(key)
            else:
                results[key.pk] = _adopted(key, found)
        except KeyBackendError as exc:
            results[key.pk] = exc
    _note_absence(absent)
    created = backend.create_many([(key.name, KeySpec(key.spec), key.pk) for key in absent])
    results |= {key.pk: _as_claimed(key, result) for key, result in zip(absent, created, strict=True)}
    return results


def _note_absence(keys: Sequence[Key]) -> None:
    """Written down before the first create: a key found later under this claim is ours only if it is younger than this."""
    fresh = [key.pk for key in keys if key.absent_seen_at is None]
    if not fresh:
        return
    now = database_now()
    Key.objects.filter(pk__in=fresh, absent_seen_at__isnull=True).update(absent_seen_at=now)
    for key in keys:
        key.absent_seen_at = key.absent_seen_at or now


def _adopted(key: Key, found: KeyInfo) -> KeyInfo:
    """A key that is there already: ours only after a crash of our own (PROTOCOLS 4). Raises KeyMismatch."""
    if key.state == Key.State.ACTIVE and key.spki_sha256 == spki_sha256(found.public_key):
        return found
    if key.absent_seen_at is None or (found.created_at and found.created_at < key.absent_seen_at - CLOCK_TOLERANCE):
        raise KeyMismatch(
            f"A key named {key.name} is in the backend {key.backend}, but this portal did not make it; it is not used.",
            next_step="Find out whose it is. The request can be made again; it will claim another name.",
        )
    return _checked(key, found)


def _as_claimed(key: Key, result: KeyInfo | KeyBackendError) -> KeyInfo | KeyBackendError:
    if isinstance(result, KeyBackendError):
        return result
    try:
        return _checked(key, result)
    except KeyMismatch as exc:
        return exc


def _checked(key: Key, found: KeyInfo) -> KeyInfo:
    if found.spec != key.spec or found.ref.version != key.version:
        raise KeyMismatch(
            f"The key {found.ref.locator} is {found.spec} version {found.ref.version}, not {key.spec} version {key.version}.",
            next_step="Find out who made it.",
        )
    return found


def confirm_keys(made: Mapping[UUID, KeyInfo], *, now: datetime) -> list[Key]:
    """Beat 3: write down what was made. Needs an open transaction; the event is the caller's, under its own subject."""
    keys = {key.pk: key for key in Key.objects.select_for_update().filter(pk__in=made).order_by("pk")}
    for key_id, info in made.items():
        key = keys[key_id]
        key.locator, key.version = info.ref.locator, info.ref.version
        key.spki_der, key.spki_sha256 = spki_der(info.public_key), spki_sha256(info.public_key)
        key.evidence, key.made_at = dict(info.evidence), key.made_at or now
        if key.state == Key.State.CLAIMED:  # one that was blocked meanwhile stays so
            key.state = Key.State.ACTIVE
    Key.objects.bulk_update(keys.values(), ["locator", "version", "spki_der", "spki_sha256", "evidence", "made_at", "state"])
    return [keys[key_id] for key_id in made]


def ref_of(key: Key) -> KeyRef:
    return KeyRef(key.backend, key.name, key.version, key.locator, key.pk)


def private_key_for(key: Key) -> Any:
    """A pyca key that signs in the backend. Raises KeyBackendError."""
    return get_key_backend(key.backend).private_key(ref_of(key))


def sign_many_with(key: Key, messages: Sequence[bytes]) -> list[bytes]:
    """Signatures over several messages with one key, in one call where the backend can. Raises KeyBackendError."""
    return get_key_backend(key.backend).sign_many(ref_of(key), messages)


def record_public_keys(owners: Mapping[str, str], *, now: datetime) -> dict[str, RecordedAs]:
    """Note whose each public key is: the first team that showed it owns it. Answers the owner as recorded, locked FOR SHARE."""
    PublicKey.objects.bulk_create(
        [PublicKey(spki_sha256=spki, team=team, recorded_at=now) for spki, team in sorted(owners.items())], ignore_conflicts=True
    )
    rows = _shared(owners)
    return {spki: RecordedAs(team, blocked_at is not None) for spki, team, blocked_at in rows}


def blocked_keys(spkis: Collection[str]) -> set[str]:
    """Those that are blocked; none of the others can be blocked before this transaction ends."""
    return {spki for spki, _, blocked_at in _shared(spkis) if blocked_at is not None}


def _shared(spkis: Iterable[str]) -> list[tuple[str, str, datetime | None]]:
    wanted = sorted(set(spkis))
    if connection.vendor != "postgresql":
        return list(PublicKey.objects.filter(pk__in=wanted).values_list("spki_sha256", "team", "blocked_at"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT spki_sha256, team, blocked_at FROM keys_publickey WHERE spki_sha256 = ANY(%s) ORDER BY spki_sha256 FOR SHARE", [wanted]
        )
        return list(cursor.fetchall())


def mark_compromised(spki: str, reason: str, *, now: datetime, actor: Actor) -> bool:
    """Refuse a recorded public key for ever, at every door. True when it was not blocked before. Needs an open transaction."""
    row = PublicKey.objects.select_for_update().filter(pk=spki).first()
    if row is None or row.blocked_at is not None:
        return False
    PublicKey.objects.filter(pk=spki).update(blocked_at=now, blocked_reason=reason[:200])
    Key.objects.filter(spki_sha256=spki, state=Key.State.ACTIVE).update(state=Key.State.COMPROMISED)
    record(EventType.KEY_COMPROMISED, subject=f"public_key:{spki}", actor=actor, at=now, data={"spki_sha256": spki, "reason": reason[:200]})
    return True


def block_public_key(spki: str, *, team: str, reason: str, now: datetime, actor: Actor) -> bool:
    """Block a public key whether it was seen before or not, such as that of a private key that somebody pasted."""
    PublicKey.objects.bulk_create([PublicKey(spki_sha256=spki, team=team, recorded_at=now)], ignore_conflicts=True)
    return mark_compromised(spki, reason, now=now, actor=actor)
