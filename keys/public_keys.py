"""Whose a public key is: the first team that showed it owns it, and a blocked one is refused at every door (PROTOCOLS 5)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from audit.events import EventType
from audit.log import Actor, record
from audit.unit_of_work import insert_later
from db.backend import on_postgresql
from db.sql import Query, Rows, among_texts, ask, text_list
from keys.models import Key, PublicKey


@dataclass(frozen=True, slots=True)
class RecordedAs:
    """Whose a public key is, and whether it is blocked."""

    team: str
    blocked: bool


def record_public_keys(owners: Mapping[str, str], *, now: datetime) -> dict[str, RecordedAs]:
    """Note whose each public key is: the first team that showed it owns it. Answers the owner as recorded, locked FOR SHARE."""
    return recorded_as(ask(*public_keys_queries(owners, now=now))[1])


def recorded_as(rows: Iterable[tuple[str, str, datetime | None]]) -> dict[str, RecordedAs]:
    """The owners that the second of `public_keys_queries` answered."""
    return {spki: RecordedAs(team, blocked_at is not None) for spki, team, blocked_at in rows}


def public_keys_queries(owners: Mapping[str, str], *, now: datetime) -> tuple[Query, Query]:
    """`record_public_keys` as two queries of an `ask`."""
    pairs = json.dumps(sorted(owners.items()))  # sorted, so that two batches cannot wait for each other
    if on_postgresql():
        source = "SELECT pair->>0, pair->>1, %s, '' FROM jsonb_array_elements(CAST(%s AS jsonb)) AS pair"
    else:
        source = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), %s, '' FROM json_each(%s) WHERE true"
    insert = f"INSERT INTO keys_publickey (spki_sha256, team, recorded_at, blocked_reason) {source} ON CONFLICT DO NOTHING"
    return (insert, [connection.ops.adapt_datetimefield_value(now), pairs]), shared_keys_query(owners)


def record_new_keys(owners: Mapping[str, str], *, now: datetime) -> dict[str, RecordedAs]:
    """Note whose they are at the end of `audit.log.together()`. None of them was there when `shared_keys_query` was asked; one that
    another transaction records meanwhile raises IntegrityError.
    """
    rows = [[spki, team, now, ""] for spki, team in sorted(owners.items())]
    insert_later(Rows("keys_publickey", "spki_sha256, team, recorded_at, blocked_reason", rows))
    return {spki: RecordedAs(team, blocked=False) for spki, team in owners.items()}


def blocked_keys(spkis: Iterable[str]) -> set[str]:
    """Those that are blocked; none of the others can be blocked before this transaction ends."""
    return blocked_among(ask(shared_keys_query(spkis))[0])


def blocked_among(rows: Iterable[tuple[str, str, datetime | None]]) -> set[str]:
    """The blocked ones of what `shared_keys_query` asked for."""
    return {spki for spki, _, blocked_at in rows if blocked_at is not None}


def shared_keys_query(spkis: Iterable[str]) -> Query:
    """For `ask`: whose these keys are and whether they are blocked, locked FOR SHARE; `blocked_among` reads the answer.

    In the order of their hashes, so that two batches cannot wait for each other; on SQLite nobody else can write anyway.
    """
    lock = " FOR SHARE" if on_postgresql() else ""
    among = among_texts("spki_sha256")
    return (
        f"SELECT spki_sha256, team, blocked_at FROM keys_publickey WHERE {among} ORDER BY spki_sha256{lock}",  # noqa: S608 - constants
        [text_list(sorted(set(spkis)))],
    )


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
