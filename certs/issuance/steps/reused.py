"""A renewal that keeps its key needs no new one: the key is looked at once more and the request goes on to its CSR."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from audit.events import EventType
from certs.enums import RequestState as S
from certs.issuance.steps.external_csr import key_refusal
from certs.models import CertificateRequest
from certs.requests.outcomes import reject_many
from certs.requests.states import WORKER, Move, transition_many
from keys.lifecycle import record_public_keys
from keys.models import Key


def advance_reused(requests: Sequence[CertificateRequest], *, now: datetime) -> None:
    """Approved -> key_ready, or rejected when the key was blocked or destroyed meanwhile. Needs an open transaction."""
    if not requests:
        return
    recorded = record_public_keys({request.spki_sha256: request.team.slug for request in requests}, now=now)
    keys = Key.objects.in_bulk({request.key_id for request in requests})
    moves, rejections = [], []
    for request in requests:
        request.key = keys.get(request.key_id) if request.key_id else None
        refused = key_refusal(request, recorded[request.spki_sha256]) or _gone(request)
        if refused:
            rejections.append((request, *refused))
        else:
            moves.append(_ready(request))
    transition_many(moves, source=S.APPROVED, actor=WORKER, now=now)
    reject_many(rejections, source=S.APPROVED, now=now)


def _gone(request: CertificateRequest) -> tuple[str, str, str] | None:
    if request.key is not None and request.key.state == Key.State.ACTIVE:
        return None
    state = request.key.get_state_display() if request.key else "unknown"
    return ("key_gone", f"The key to be used again is {state}.", "Renew with a new key.")


def _ready(request: CertificateRequest) -> Move:
    key = request.key
    assert key is not None  # `_gone` has said so
    data = {"key": key.locator, "version": key.version, "backend": key.backend, "spki_sha256": key.spki_sha256, "reused": True}
    return Move(request, (S.KEY_READY,), ((EventType.KEY_RECORDED, data),))
