"""How long a key has been in use, and for how many certificates: what the policy limits when a renewal keeps it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from certs.models import Certificate
from keys.models import PublicKey


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Whole days since the public key was first recorded here, and certificates in the inventory that carry it."""

    age_days: int
    certificates: int


UNUSED = KeyUse(0, 0)


def key_use(spkis: Collection[str], *, at: datetime) -> dict[str, KeyUse]:
    """By SPKI hash, in two queries for a whole batch. Every certificate counts, revoked and expired ones too."""
    if not spkis:
        return {}
    rows = Certificate.objects.filter(spki_sha256__in=spkis).order_by().values_list("spki_sha256")
    counts = dict(rows.annotate(count=Count("pk")))
    since = dict(PublicKey.objects.filter(pk__in=spkis).values_list("spki_sha256", "recorded_at"))
    return {spki: KeyUse((at - since[spki]).days if spki in since else 0, counts.get(spki, 0)) for spki in spkis}
