"""Keys that the portal's own database holds: made first, and written down in the transaction of whoever needs them.

They take one transaction where a key elsewhere takes three beats (PROTOCOLS 4): what was not committed never was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from audit.unit_of_work import insert_later
from db.sql import Rows
from keys.backends.base import DrawingKeyBackend, Drawn, KeyRef
from keys.errors import KeyBackendNotConfigured
from keys.lifecycle.claim import KeyWanted
from keys.lifecycle.names import take_names
from keys.models import Key
from keys.registry import get_key_backend
from keys.spec import KeySpec, spki_sha256

_WHAT = "id, backend, name, version, locator, spec, purpose, state"
_MORE = "claimed_for, spki_sha256, spki_der, evidence, claimed_at, made_at, destruction"


def drawable_at(alias: str) -> frozenset[KeySpec]:
    """The kinds of keys that can be drawn in a backend: none where they are elsewhere, or where this process does not have it."""
    try:
        backend = get_key_backend(alias)
    except KeyBackendNotConfigured:
        return frozenset()
    return backend.drawable if isinstance(backend, DrawingKeyBackend) else frozenset()


def draw_keys(alias: str, specs: Sequence[KeySpec]) -> list[Drawn]:
    """New keys, of kinds that are `drawable_at` that backend. Raises KeyBackendError."""
    return _drawing(alias).draw(specs)


def record_drawn(wanted: Sequence[tuple[KeyWanted, Drawn]], *, now: datetime) -> list[KeyRef]:
    """Write down keys of one backend, each under a name of its own and active at once. The event is the caller's. Needs an open
    transaction: raises IntegrityError, also at its end, for a name that somebody else takes meanwhile.
    """
    if not wanted:
        return []
    names = take_names([(one.backend, one.base_name) for one, _ in wanted])
    refs = _drawing(wanted[0][0].backend).store([drawn for _, drawn in wanted], names, now=now)
    insert_later(
        Rows("keys_key", f"{_WHAT}, {_MORE}", [_row(one, drawn, ref, now) for (one, drawn), ref in zip(wanted, refs, strict=True)])
    )
    return refs


def _row(one: KeyWanted, drawn: Drawn, ref: KeyRef, now: datetime) -> tuple[Any, ...]:
    public, evidence = drawn.spki_der, json.dumps(drawn.evidence)
    key = (drawn.key_id, ref.backend, ref.name, ref.version, ref.locator, drawn.spec.value, one.purpose, Key.State.ACTIVE.value)
    return (*key, one.claimed_for, spki_sha256(public), public, evidence, now, now, "{}")


def _drawing(alias: str) -> DrawingKeyBackend:
    backend = get_key_backend(alias)
    assert isinstance(backend, DrawingKeyBackend)  # `drawable_at` says so
    return backend
