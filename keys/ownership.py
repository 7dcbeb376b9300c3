"""Whose a public key is: the first team that showed it owns it, and a blocked one is refused at every door (PROTOCOLS 5)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from audit.batches import among_texts, text_list
from audit.events import EventType
from audit.log import Actor, record
from keys.models import Key, PublicKey


@dataclass(frozen=True, slots=True)
class RecordedAs:
    """Whose a public key is, and whether it is blocked."""

    team: str
    blocked: bool


def record_public_keys(owners: Mapping[str, str], *, now: datetime) -> dict[str, RecordedAs]:
    """Note whose each public key is: the first team that showed it owns it. Answers the owner as recorded, locked FOR SHARE."""
    pairs = json.dumps(sorted(owners.items()))  # sorted, so that two batches cannot wait for each other
    if connection.vendor == "postgresql":
        source = "SELECT pair->>0, pair->>1, %s, '' FROM jsonb_array_elements(CAST(%s AS jsonb)) AS pair"
    else:
        source = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), %s, '' FROM json_each(%s) WHERE true"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO keys_publickey (spki_sha256, team, recorded_at, blocked_reason) {source} ON CONFLICT DO NOTHING",
            [connection.ops.adapt_datetimefield_value(now), pairs],
        )
    rows = _shared(owners)
    return {spki: RecordedAs(team, blocked_at is not None) for spki, team, blocked_at in rows}


def blocked_keys(spkis: Iterable[str]) -> set[str]:
    """Those that are blocked; none of the others can be blocked before this transaction ends."""
    return {spki for spki, _, blocked_at in _shared(spkis) if blocked_at is not None}


def _shared(spkis: Iterable[str]) -> list[tuple[str, str, datetime | None]]:
    wanted = sorted(set(spkis))
    if connection.vendor != "postgresql":
        return list(PublicKey.objects.filter(pk__in=wanted).values_list("spki_sha256", "team", "blocked_at"))
    with connection.cursor() as cursor:
        among = among_texts("spki_sha256")
        cursor.execute(
            f"SELECT spki_sha256, team, blocked_at FROM keys_publickey WHERE {among} ORDER BY spki_sha256 FOR SHARE",  # noqa: S608
            [text_list(wanted)],
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
