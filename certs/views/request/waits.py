"""For whom a request waits, since when, until when, and what the requester must do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certs.enums import RequestState as S
from certs.models import CertificateRequest
from certs.notifications.audience import people_asked
from certs.notifications.wording import minute
from certs.requests.states import UNFINISHED

_NAMED = 3
NOTHING = "Nothing. You can close this page: we mail you."


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait in the words of the person who waits. `details`: for operators, folded."""

    title: str
    since: datetime
    who: str
    until: str
    to_do: str = NOTHING
    details: str = ""


def wait_of(request: CertificateRequest, why: str, *, until: datetime | None = None) -> Wait | None:
    """Return what the request waits for; None while it moves, and once it has ended.

    `why`: the reason of `certs.requests.waiting_reasons`. `until`: when an approval's time ends.
    Effects: two queries for the approvers' names.
    """
    if request.state == S.AWAITING_APPROVAL:
        named = approvers_named(request)
        return Wait(
            title="Waiting for the security team",
            since=request.state_changed_at,
            who=named or "the security team, in which nobody else can approve at present",
            until=_until(until),
            to_do=NOTHING if named else "Ask an administrator to give somebody the role of an approver.",
        )
    if request.held_since is not None:
        return Wait(
            title=f"{_cause(request)} since {request.held_since:%H:%M} UTC. Nothing is lost",
            since=request.held_since,
            who="the operators of the portal, who have been notified",
            until="it works again. The request then goes on automatically.",
            details=why,
        )
    if why and request.state in UNFINISHED:
        return Wait(
            title="Waiting for its turn",
            since=request.state_changed_at,
            who="the portal's workers",
            until="usually some seconds.",
            details=why,
        )
    return None


def _cause(request: CertificateRequest) -> str:
    """The part that does not work, as the state in which the request is held says."""
    if request.state == S.CSR_CREATED:
        return f"The CA {request.issuer.name} does not answer"
    if request.state in (S.APPROVED, S.KEY_READY):
        return "Our key store does not answer"
    return "The portal cannot go on"


def _until(until: datetime | None) -> str:
    if until is None:
        return "one of them decides. There is no deadline; we mail you the decision."
    return f"one of them decides, {minute(until)} at the latest. Then the request lapses, and we mail you."


def approvers_named(request: CertificateRequest) -> str:
    """Return the people who are asked, by name: the first three and the number of the others; "" for nobody."""
    rows = people_asked([request.requester_id] if request.requester_id is not None else [])
    names = [row.get_full_name() or row.get_username() for row in rows]
    if len(names) > _NAMED:
        more = len(names) - _NAMED
        return f"{', '.join(names[:_NAMED])} or {more} other{'s' if more > 1 else ''}"
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
