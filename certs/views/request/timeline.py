"""A request's way as people read it: six steps, each with its time and what came of it, taken from the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.models import CertificateRequest

# (title, the event that completes it)
_STEPS = (
    ("Submitted", "request:submitted"),
    ("Policy", "policy:evaluated"),
    ("Key", "key:generated"),
    ("CSR", "csr:created"),
    ("CA", "certificate:issued"),
    ("Inventory", "certificate:recorded"),
)
_RUNNING = {S.SUBMITTED: 1, S.AWAITING_APPROVAL: 1, S.APPROVED: 2, S.KEY_READY: 3, S.CSR_CREATED: 4, S.ISSUED: 5}

_STAND_AT_POLICY = (S.REJECTED, S.AWAITING_APPROVAL, S.CANCELLED)


@dataclass(frozen=True, slots=True)
class Step:
    """`state`: done, now, stopped or ahead."""

    title: str
    state: str
    at: datetime | None
    detail: str


def timeline(request: CertificateRequest, events: Sequence[AuditEvent]) -> list[Step]:
    by_name: dict[str, AuditEvent] = {}
    for one in events:
        if one.event == "policy:evaluated":
            by_name[one.event] = one  # asked again before the CA is: the last word counts
            continue
        by_name.setdefault("key:generated" if one.event in ("key:recorded", "key:rotated") else one.event, one)
    current = _current(request, by_name)
    stopped = request.state in (S.REJECTED, S.FAILED, S.CANCELLED) or request.held_since is not None
    steps = []
    for number, (title, name) in enumerate(_STEPS):
        event: AuditEvent | None = by_name.get(name)
        state = "done" if event else "ahead"
        if number == current == 1 and request.state in _STAND_AT_POLICY and "key:generated" not in by_name:
            state = "now" if request.state == S.AWAITING_APPROVAL else "stopped"
        elif event is None and number == current and request.state != S.COMPLETED:
            state = "stopped" if stopped else "now"
        steps.append(Step(title, state, event.at if event else None, _detail(name, event.data if event else {})))
    return steps


def _current(request: CertificateRequest, by_name: dict[str, AuditEvent]) -> int:
    """The number of the step that a request is at, or stopped at."""
    state: str = request.state
    if state == S.CANCELLED and "request:cancelled" in by_name:
        state = str(by_name["request:cancelled"].data.get("state", state))
    if state in _RUNNING:
        return _RUNNING[S(state)]
    return _RUNNING.get(S(request.stopped_at), 1) if request.stopped_at else 1


def _detail(name: str, data: dict[str, Any]) -> str:
    if not data:
        return ""
    match name:
        case "request:submitted":
            return f"for team {data.get('team')}"
        case "policy:evaluated":
            told = {"allow": "allowed", "deny": "refused", "needs_approval": "needs approval"}
            return f"{told.get(str(data.get('outcome')), '')} under policy {data.get('policy_version')}"
        case "key:generated":
            if "key" not in data:
                return "the requester's own key; only its public half is known here"
            how = "used again, kept in" if data.get("reused") else "rotated and kept in" if "from_version" in data else "made and kept in"
            return f"{data['key']} version {data['version']}, {how} {data['backend']}"
        case "csr:created":
            return "brought by the requester, checked at the gate" if data.get("brought") else "signed where the key is"
        case "certificate:issued":
            return f"signed by {data.get('issuer')}, verified, serial {data.get('serial_number')}"
        case "certificate:recorded":
            return f"{data.get('cert_id')}, reminder on {str(data.get('alert_at'))[:10]}"
    return ""


def event_detail(event: AuditEvent) -> str:
    """What an event of a certificate's later life says, in a few words; for the others what the timeline says."""
    data = event.data
    match event.event:
        case "certificate:renewed":
            return f"by {data.get('renewed_by')}"
        case "certificate:revocation_requested" | "certificate:revoked":
            before = f", before {data['earlier_reason']}" if "earlier_reason" in data else ""
            return f"as {data.get('reason')}{before}"
        case "certificate:renewal_refused":
            return str(data.get("reason"))
        case "certificate:downloaded":
            return str(data.get("form"))
        case "key:recorded" | "key:rotated":
            return _detail("key:generated", data)
    return _detail(event.event, data)
