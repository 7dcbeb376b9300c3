"""What an approval takes: how many persons, within which time, and with what proof of who decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from policy.rules.base import Params

MOST_APPROVERS = 5
MOST_DAYS = 365
NO_CONFIRMATION, SECOND_FACTOR = "none", "second_factor"


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """The terms of a policy version.

    `approvers`: so many different persons approve. `time_limit_days`: nobody decided by then, and
    the request lapses; None for the setting PKI_APPROVAL_DAYS. `confirmed`: each approval is
    confirmed with the approver's passkey or one-time code.
    """

    approvers: int = 1
    time_limit_days: int | None = None
    confirmed: bool = False

    @classmethod
    def from_params(cls, params: Params) -> Self:
        """Read `approval` of a policy. Raises RuleSetInvalid, naming the field."""
        approvers = params.integer("approvers", minimum=1, maximum=MOST_APPROVERS, default=1)
        days = params.integer("time_limit_days", minimum=0, maximum=MOST_DAYS, default=0)
        confirmation = params.choice("confirmation", (NO_CONFIRMATION, SECOND_FACTOR), default=NO_CONFIRMATION)
        params.done()
        return cls(approvers, days or None, confirmation == SECOND_FACTOR)

    def to_dict(self) -> dict[str, Any]:
        """Return the inverse of `from_params`, with every parameter written out."""
        return {
            "approvers": self.approvers,
            "time_limit_days": self.time_limit_days or 0,
            "confirmation": SECOND_FACTOR if self.confirmed else NO_CONFIRMATION,
        }


USUAL = ApprovalTerms()
