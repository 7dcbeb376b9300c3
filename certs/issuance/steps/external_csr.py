"""A CSR brought by its requester needs no key and no signature of ours: its public key is recorded and it goes on to the CA.

Nobody waits on the states between, so they share one transaction with what came before, each with its event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from audit.events import EventType
from certs.enums import RequestState as S
from certs.models import CertificateRequest
from certs.requests.lineage import claimed_keys_query
from certs.requests.states import WORKER, Move, transition_many
from db.sql import ask
from keys.lifecycle import RecordedAs, public_keys_queries, record_new_keys, recorded_as

Events = tuple[tuple[EventType, Mapping[str, Any]], ...]
_PATHS = {S.SUBMITTED: (S.APPROVED, S.KEY_READY, S.CSR_CREATED), S.APPROVED: (S.KEY_READY, S.CSR_CREATED)}


KeyRows = tuple[Sequence[Any], Sequence[Any]]  # what shared_keys_query and claimed_keys_query answered


def advance_brought(
    requests: Sequence[CertificateRequest],
    *,
    source: S,
    now: datetime,
    before: Mapping[int, Events] | None = None,
    keys: KeyRows | None = None,
) -> None:
    """Submitted or approved -> csr_created, after the events in `before`. A public key of another team, or one that is
    blocked, ends the request (PROTOCOLS 5). Needs an open transaction.

    `keys`: was asked in it already, under `audit.log.together()`. One that another transaction records meanwhile raises
    IntegrityError at the end then.
    """
    if not requests:
        return
    # Of two teams that show the same key at once, the one whose request is older has it.
    owners = {request.spki_sha256: request.team.slug for request in reversed(requests)}
    _, rows, claimed = (None, *keys) if keys else ask(*public_keys_queries(owners, now=now), claimed_keys_query(owners))
    recorded = recorded_as(rows)
    if keys:
        recorded |= record_new_keys({spki: team for spki, team in owners.items() if spki not in recorded}, now=now)
    recorded |= {spki: RecordedAs(recorded[spki].team, blocked=True) for (spki,) in claimed if spki in owners}
    moves = [_move(request, recorded[request.spki_sha256], source, (before or {}).get(request.pk, ())) for request in requests]
    transition_many(moves, source=source, actor=WORKER, now=now)


def _move(request: CertificateRequest, owner: RecordedAs, source: S, before: Events) -> Move:
    fields: dict[str, Any] = {"policy_version": request.policy_version}
    refused = key_refusal(request, owner)
    if refused:
        problem, message, suggestion = refused
        data = {"problem": problem, "reason": message, "policy_version": request.policy_version}
        return Move(
            request, (S.REJECTED,), (*before, (EventType.REQUEST_REJECTED, data)), fields | {"error": message, "suggestion": suggestion}
        )
    spki = {"spki_sha256": request.spki_sha256}
    events: Events = (*before, (EventType.KEY_RECORDED, spki), (EventType.CSR_CREATED, {"brought": True, **spki}))
    return Move(request, _PATHS[source], events, fields)


def key_refusal(request: CertificateRequest, owner: RecordedAs) -> tuple[str, str, str] | None:
    """(problem class, message, suggestion), or None when the key may be used."""
    if owner.blocked:
        return (
            "key_compromised",
            "This public key is blocked: its private key was reported compromised.",
            "Make a new key pair and a new CSR.",
        )
    if owner.team != request.team.slug:
        return (
            "key_of_another_team",
            "This public key belongs to another team.",
            "Make a key pair of your own; a CSR can be copied, a key must not be shared.",
        )
    return None
