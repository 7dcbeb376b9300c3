"""For whom a request waits, since when, until when, and what the requester must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certs.enums import RequestState as S
from certs.models import Approval, CertificateRequest
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


@dataclass(frozen=True, slots=True)
class Approvals:
    """How far an approval is: how many persons must give it, who has, and when its time ends."""

    needed: int = 1
    grants: Sequence[Approval] = ()
    until: datetime | None = None

    @property
    def who_decides(self) -> str:
        """Return in words who must decide, and who has."""
        if self.needed == 1:
            return "one of them decides"
        names = ", ".join(str(one.approver) for one in self.grants)
        approved = f" ({len(self.grants)} of {self.needed} so far: {names})" if names else ""
        return f"{self.needed} of them approve it{approved}, or one rejects it"

    @property
    def in_words(self) -> str:
        """Return until when it waits, and what happens then."""
        if self.until is None:
            return f"{self.who_decides}. There is no deadline; we mail you the decision."
        return f"{self.who_decides}, {minute(self.until)} at the latest. Then the request lapses, and we mail you."


def wait_of(request: CertificateRequest, why: str, *, approvals: Approvals) -> Wait | None:
    """Return what the request waits for; None while it moves, and once it has ended.

    `why`: the reason of `certs.requests.waiting_reasons`. Effects: two queries for the approvers' names.
    """
    if request.state == S.AWAITING_APPROVAL:
        named = approvers_named(request)
        return Wait(
            title="Waiting for the security team",
            since=request.state_changed_at,
            who=named or "the security team, in which nobody else can approve at present",
            until=approvals.in_words,
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


def approvers_named(request: CertificateRequest) -> str:
    """Return the people who are asked, by name: the first three and the number of the others; "" for nobody."""
    rows = people_asked([request.requester_id] if request.requester_id is not None else [])
    names = [row.get_full_name() or row.get_username() for row in rows]
    if len(names) > _NAMED:
        more = len(names) - _NAMED
        return f"{', '.join(names[:_NAMED])} or {more} other{'s' if more > 1 else ''}"
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
