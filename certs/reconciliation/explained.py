"""What the audit log says that the state of a row should be. Pure: events in, state out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from certs.terms import RequestState as S


class Told(NamedTuple):
    """One event of the log: its type and its fields."""

    event: str
    data: Mapping[str, Any]


REQUEST_EVENTS = (
    "request:submitted",
    "policy:evaluated",
    "request:approved",
    "request:rejected",
    "request:cancelled",
    "request:failed",
    "request:resumed",
    "key:generated",
    "key:rotated",
    "key:recorded",
    "csr:created",
    "certificate:issued",
    "certificate:recorded",
    "certificate:revocation_requested",
)
CERTIFICATE_EVENTS = (
    "certificate:revocation_requested",
    "certificate:revoked",
    "certificate:release_requested",
    "certificate:released",
)
_AFTER = {
    "request:submitted": S.SUBMITTED,
    "request:approved": S.APPROVED,
    "request:rejected": S.REJECTED,
    "request:cancelled": S.CANCELLED,
    "request:failed": S.FAILED,
    "csr:created": S.CSR_CREATED,
    "certificate:issued": S.ISSUED,
    "certificate:recorded": S.COMPLETED,
}
_AFTER_POLICY = {"allow": S.APPROVED, "needs_approval": S.AWAITING_APPROVAL}


def request_state(events: Iterable[Told]) -> str:
    """Return the state in which the events leave a request; empty when none of them begins it."""
    state = ""
    for event, data in events:
        if event == "policy:evaluated":
            # Later evaluations, before each submission to the CA, move a request only by a
            # rejection, which has an event of its own.
            if state == S.SUBMITTED:
                state = _AFTER_POLICY.get(str(data.get("outcome")), state)
        elif event == "request:resumed":
            state = str(data.get("state"))
        elif event.startswith("key:"):
            state = S.KEY_READY
        else:
            state = _AFTER.get(event, state)
    return state


@dataclass(frozen=True, slots=True)
class RevocationState:
    """What the events say of one certificate and its revocation."""

    status: str = "good"
    reason: str = ""
    confirmed: bool = False
    released: bool = False


def revocation_state(events: Iterable[Told]) -> RevocationState:
    """Return the status in which the events leave a certificate that was issued."""
    state = RevocationState()
    for event, data in events:
        if event == "certificate:revocation_requested":
            status = "revocation_pending" if state.status == "good" else state.status
            state = RevocationState(status, str(data.get("reason")))
        elif event == "certificate:revoked":
            state = RevocationState("revoked", str(data.get("reason")), confirmed=True)
        elif event == "certificate:released":
            state = RevocationState("good", state.reason, confirmed=True, released=True)
    return state
