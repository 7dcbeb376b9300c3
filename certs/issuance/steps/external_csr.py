"""Requests that need no new key: an external CSR, and a renewal that keeps its key.

No step outside the database lies between their states, so they pass them in one transaction, with an event for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from audit.events import EventType
from audit.log import UnitOfWork
from certs.enums import RequestState as S
from certs.models import CertificateRequest
from certs.requests.lineage import reported_by_owner
from certs.requests.states import WORKER, Move, reject_many, transition_many
from db.reads import read_together
from db.rows import by_key, select
from keys.models import Key, PublicKey
from keys.public_keys import record_public_keys, recorded_keys

Events = tuple[tuple[EventType, Mapping[str, Any]], ...]
_PATHS = {S.SUBMITTED: (S.APPROVED, S.KEY_READY, S.CSR_CREATED), S.APPROVED: (S.KEY_READY, S.CSR_CREATED)}


def accept_external(
    work: UnitOfWork, requests: Sequence[CertificateRequest], *, source: S, now: datetime, before: Mapping[int, Events] | None = None
) -> None:
    """Move requests from submitted or approved to csr_created: an external CSR needs no key and no signature of the portal.

    A request whose public key is another team's, or is blocked, is rejected. `before`: events of the
    request that come first, by request id.
    """
    # Where two teams send the same key at once, it belongs to the team of the older request.
    # The rows of the keys are made where missing and locked, so that none of them is blocked before the commit. A key that the
    # requester's own team has reported is refused to that team, though no officer has blocked it.
    owners = {request.spki_sha256: request.team.slug for request in reversed(requests)}
    rows, reported = read_together(recorded_keys(owners, now=now), reported_by_owner(owners))
    recorded = by_key(rows)
    moves = []
    for request in requests:
        spki, events = {"spki_sha256": request.spki_sha256}, (before or {}).get(request.pk, ())
        refused = _key_refusal(request, recorded[request.spki_sha256], reported=request.spki_sha256 in reported)
        if refused is None:
            events = (*events, (EventType.KEY_RECORDED, spki), (EventType.CSR_CREATED, {"brought": True, **spki}))
            moves.append(Move(request, _PATHS[source], events, {"policy_version": request.policy_version}))
        else:
            problem, message, suggestion = refused
            data = {"problem": problem, "reason": message, "policy_version": request.policy_version}
            fields = {"policy_version": request.policy_version, "error": message, "suggestion": suggestion}
            moves.append(Move(request, (S.REJECTED,), (*events, (EventType.REQUEST_REJECTED, data)), fields))
    transition_many(work, moves, source=source, actor=WORKER, now=now)


def accept_reused(work: UnitOfWork, requests: Sequence[CertificateRequest], *, now: datetime) -> None:
    """Move renewals that keep their key from approved to key_ready; to rejected where the key was blocked or destroyed since."""
    recorded = record_public_keys({request.spki_sha256: request.team.slug for request in requests}, now=now)
    # As they are now: days may lie between the request and its approval.
    keys = by_key(select(Key, id={request.key_id for request in requests if request.key_id}))
    moves, rejections = [], []
    for request in requests:
        key = keys.get(request.key_id) if request.key_id else None
        refused = _key_refusal(request, recorded[request.spki_sha256], reported=False)
        if refused is not None:
            rejections.append((request, *refused))
        elif key is None or key.state != Key.State.ACTIVE:
            state = key.get_state_display() if key else "unknown"
            rejections.append((request, "key_gone", f"The key to be used again is {state}.", "Renew with a new key."))
        else:
            request.key = key
            data = {"key": key.locator, "version": key.version, "backend": key.backend, "spki_sha256": key.spki_sha256, "reused": True}
            moves.append(Move(request, (S.KEY_READY,), ((EventType.KEY_RECORDED, data),)))
    transition_many(work, moves, source=S.APPROVED, actor=WORKER, now=now)
    reject_many(work, rejections, source=S.APPROVED, now=now)


def _key_refusal(request: CertificateRequest, recorded: PublicKey, *, reported: bool) -> tuple[str, str, str] | None:
    """Return (problem class, message, suggestion), or None when the key may be used."""
    if recorded.is_blocked or reported:
        return (
            "key_compromised",
            "This public key is blocked: its private key was reported compromised.",
            "Make a new key pair and a new CSR.",
        )
    if recorded.team != request.team.slug:
        return (
            "key_of_another_team",
            "This public key belongs to another team.",
            "Make a key pair of your own; a CSR can be copied, a key must not be shared.",
        )
    return None
