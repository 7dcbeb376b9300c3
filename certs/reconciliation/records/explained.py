"""What the audit log says that the state of a row should be. Pure: events in, state out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from certs.enums import RequestState as S


class Logged(NamedTuple):
    """One event of the log: its type, its fields, who did it and when. `pk` orders events of several subjects."""

    event: str
    data: Mapping[str, Any]
    actor: str = ""
    at: datetime | None = None
    pk: int = 0


REQUEST_EVENTS = (
    "request:submitted",
    "policy:evaluated",
    "request:approved",
    "request:rejected",
    "request:lapsed",
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
    "certificate:described",
    "certificate:reviewed",
    "certificate:renewal_switched",
)
# What people write about a certificate, and how the events call it.
DESCRIPTION = ("owner", "purpose", "critical_function", "last_review", "renewal_off_reason")
_AFTER = {
    "request:submitted": S.SUBMITTED,
    "request:approved": S.APPROVED,
    "request:rejected": S.REJECTED,
    "request:lapsed": S.REJECTED,
    "request:cancelled": S.CANCELLED,
    "request:failed": S.FAILED,
    "csr:created": S.CSR_CREATED,
    "certificate:issued": S.ISSUED,
    "certificate:recorded": S.COMPLETED,
}
_AFTER_POLICY = {"allow": S.APPROVED, "needs_approval": S.AWAITING_APPROVAL}


def request_state(events: Iterable[Logged]) -> str:
    """Return the state in which the events leave a request; empty when none of them begins it."""
    state = ""
    for logged in events:
        event, data = logged.event, logged.data
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
    """What the events say of one certificate and its revocation.

    `invalidity_date` and `by_security_team` are None where the events, of an earlier release, do not say.
    """

    status: str = "good"
    reason: str = ""
    requested_by: str = ""
    requested_at: datetime | None = None
    confirmed: bool = False
    releasing: bool = False
    released: bool = False
    invalidity_date: str | None = None
    by_security_team: bool | None = None


def revocation_state(events: Iterable[Logged]) -> RevocationState:
    """Return the status in which the events leave a certificate that was issued."""
    state = RevocationState()
    for logged in events:
        event, data = logged.event, logged.data
        if event == "certificate:revocation_requested":
            # Another reason later keeps the time of the first request, and its requester.
            goes_on = state.reason != "" and not state.released
            state = RevocationState(
                "revocation_pending" if state.status == "good" else state.status,
                str(data.get("reason")),
                state.requested_by if goes_on else logged.actor,
                state.requested_at if goes_on else logged.at,
                invalidity_date=_text(data.get("invalidity_date")),
                by_security_team=None if "by_security_team" not in data else bool(data["by_security_team"]),
            )
        elif event == "certificate:revoked":
            state = replace(state, status="revoked", reason=str(data.get("reason")), confirmed=True)
        elif event == "certificate:release_requested":
            state = replace(state, releasing=True)
        elif event == "certificate:released":
            state = replace(state, status="good", confirmed=True, releasing=True, released=True)
    return state


def description(start: Mapping[str, Any], events: Iterable[Logged]) -> dict[str, Any]:
    """Return the description in which the events leave a certificate that began with `start`."""
    state = dict(start)
    for logged in events:
        state |= _described(logged)
    return state


def description_at(stored: Mapping[str, Any], events: Iterable[Logged], *, before: int) -> dict[str, Any]:
    """Return the description that a certificate had before the event `before`, which a renewal inherited.

    `stored` is its description now. The first later change of a value names the value before it.
    """
    earlier: dict[str, Any] = {}
    later: dict[str, Any] = {}
    for logged in events:
        if logged.pk < before:
            earlier |= _described(logged)
        else:
            later = _described_before(logged) | later
    return dict(stored) | later | earlier


def _described(logged: Logged) -> dict[str, Any]:
    """Return the values that an event gave a certificate."""
    if logged.event == "certificate:renewal_switched":
        return {"renewal_off_reason": logged.data.get("reason")}
    if logged.event in ("certificate:described", "certificate:reviewed"):
        return {name: logged.data[name] for name in DESCRIPTION if name in logged.data}
    return {}


def _described_before(logged: Logged) -> dict[str, Any]:
    """Return the values that a certificate had before an event; events of an earlier release do not name each."""
    if logged.event not in ("certificate:described", "certificate:reviewed", "certificate:renewal_switched"):
        return {}
    names = {name: "reason_before" if name == "renewal_off_reason" else f"{name}_before" for name in DESCRIPTION}
    return {name: logged.data[field] for name, field in names.items() if field in logged.data}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
