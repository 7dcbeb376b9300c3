"""A request's way as people read it: from the question to the padlock, each step with its time and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.models import AuditEvent
from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest
from certs.notifications.wording import all_of
from certs.servers.kinds import CLIENT_PROFILE

# (title, the event that completes it, the states in which a request is at it)
_STEPS = (
    ("Asked", "request:submitted", ()),
    ("Policy", "policy:evaluated", (S.SUBMITTED,)),
    ("Approval", "request:approved", (S.AWAITING_APPROVAL,)),
    ("Key", "csr:created", (S.APPROVED, S.KEY_READY)),
    ("Signed", "certificate:recorded", (S.CSR_CREATED, S.ISSUED)),
)
_KEY_EVENTS = ("key:generated", "key:recorded", "key:rotated")
_FULLCHAIN = ("fullchain.pem", "cert.pem", "cert.der", "chain.p7b")


@dataclass(frozen=True, slots=True)
class Step:
    """`state`: done, now, stopped or ahead."""

    title: str
    state: str
    at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class Installed:
    """What is known of the certificate on its server: when its files were downloaded, when it was seen there.

    `is_elsewhere_too`: other places are known, where it was not seen.
    """

    certificate: Certificate
    downloaded_at: datetime | None = None
    seen_at: datetime | None = None
    seen_where: str = ""
    is_elsewhere_too: bool = False


def timeline(request: CertificateRequest, events: Sequence[AuditEvent], installed: Installed | None = None) -> list[Step]:
    """Return the steps of a request, the one of an approval only where it needs one."""
    by_name: dict[str, AuditEvent] = {}
    for one in events:
        if one.event == "policy:evaluated":
            by_name[one.event] = one  # asked again before the CA is: the last word counts
        else:
            by_name.setdefault("key" if one.event in _KEY_EVENTS else one.event, one)
    here = _state_at(request, by_name)
    stopped = request.state in (S.REJECTED, S.FAILED, S.CANCELLED) or request.held_since is not None
    steps = []
    for title, name, states in _STEPS:
        event = by_name.get(name)
        is_here = here in states
        if title == "Approval" and event is None and not is_here:
            continue
        state = "done" if event else "ahead"
        if is_here and (event is None or title in ("Policy", "Approval")) and request.state != S.COMPLETED:
            state = "stopped" if stopped else "now"
        detail = _approvals(events, event) if title == "Approval" else _shown(title, by_name, event)
        steps.append(Step(title, state, event.at if event else None, detail))
    return [*steps, *_after_signing(request, installed)]


def _after_signing(request: CertificateRequest, installed: Installed | None) -> list[Step]:
    """What people do with it: the portal knows of it by downloads, and by looking at the server.

    Nobody can look at a client certificate: a program shows it when it connects.
    """
    if request.profile == CLIENT_PROFILE:
        return [_given(installed)]
    if installed is None:
        return [Step("Installed", "ahead", None, ""), Step("Seen live", "ahead", None, "")]
    seen = Step("Seen live", "done" if installed.seen_at else "ahead", installed.seen_at, installed.seen_where)
    if request.key_id is not None:
        return [Step("Installed", "done", None, "nothing to install: programs sign through the vault"), seen]
    if installed.seen_at:
        return [Step("Installed", "done", None, ""), seen]
    detail = "the files were downloaded" if installed.downloaded_at else "the files and the way are below"
    return [Step("Installed", "now", installed.downloaded_at, detail), seen]


def _given(installed: Installed | None) -> Step:
    if installed is None:
        return Step("Installed", "ahead", None, "")
    if installed.downloaded_at:
        return Step("Installed", "done", installed.downloaded_at, "the files were downloaded")
    return Step("Installed", "now", None, "the files and the way are below")


def first_download(events: Iterable[AuditEvent]) -> datetime | None:
    """Return when the certificate was downloaded first, from the events of its certificate."""
    found = (one.at for one in events if one.event == "certificate:downloaded" and one.data.get("form") in _FULLCHAIN)
    return min(found, default=None)


def _state_at(request: CertificateRequest, by_name: dict[str, AuditEvent]) -> str:
    """The state that the request is in, or in which it ended."""
    state: str = request.state
    if state == S.CANCELLED and "request:cancelled" in by_name:
        return str(by_name["request:cancelled"].data.get("state", S.SUBMITTED))
    if state in (S.FAILED, S.CANCELLED):
        return request.stopped_at or S.SUBMITTED
    if state == S.REJECTED:
        return _where_rejected(by_name)
    return state


def _where_rejected(by_name: dict[str, AuditEvent]) -> str:
    """By an approver, by the policy at first, or by the policy's last look before the CA is asked."""
    rejected = by_name.get("request:rejected")
    if "request:lapsed" in by_name:
        return S.AWAITING_APPROVAL
    if rejected is not None and "approver" in rejected.data:
        return S.AWAITING_APPROVAL
    if "csr:created" in by_name:
        return S.CSR_CREATED
    return S.APPROVED if "key" in by_name else S.SUBMITTED


def _shown(title: str, by_name: dict[str, AuditEvent], event: AuditEvent | None) -> str:
    key = by_name.get("key")
    if title == "Key" and key is not None:
        return _detail("key:generated", key.data)
    if title == "Signed" and "certificate:issued" in by_name:
        return f"signed by {by_name['certificate:issued'].data.get('issuer')}, verified"
    return _detail(event.event, event.data) if event else ""


def _approvals(events: Sequence[AuditEvent], last: AuditEvent | None) -> str:
    """Who approved: all of them, where the policy asks for several."""
    given = [one for one in events if one.event == "request:endorsed"]
    names = list(dict.fromkeys(str(one.data.get("approver")) for one in (*given, *([last] if last else []))))
    if last is not None:
        return f"approved by {all_of(names)}"
    return f"{len(names)} of {given[-1].data.get('needed')}: {', '.join(names)}" if given else ""


def _detail(name: str, data: dict[str, Any]) -> str:
    if not data:
        return ""
    match name:
        case "request:submitted":
            return f"for team {data.get('team')}"
        case "policy:evaluated":
            verdicts = {"allow": "allowed", "deny": "refused", "needs_approval": "needs approval"}
            return f"{verdicts.get(str(data.get('outcome')), '')} under policy {data.get('policy_version')}"
        case "key:generated":
            if "key" not in data:
                return "your own; only its public half is known here"
            how = "used again from" if data.get("reused") else "a new version, made in" if "from_version" in data else "made in"
            return f"{how} the key store {data['backend']}, where it stays"
        case "csr:created":
            return "your own; its CSR was checked" if data.get("brought") else "signed where the key is"
        case "certificate:issued":
            return f"signed by {data.get('issuer')}, verified, serial {data.get('serial_number')}"
        case "certificate:recorded":
            return f"{data.get('cert_id')}, renews from {str(data.get('alert_at'))[:10]} on"
    return ""
