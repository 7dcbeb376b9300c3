"""Who may do what, from facts of now: active account, membership of a team, named permission.

Every channel and every use case asks here. A rule that is written anywhere else is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.log import Actor
from certs.access.membership import is_member
from certs.errors import NotFound, NotPermitted
from certs.models import BulkOrder, Certificate, CertificateRequest, Team
from certs.models.certificate import CertificateQuerySet
from certs.models.permission import Permission, holders_of, holds

__all__ = ["Authority", "Permission", "holders_of", "holds", "is_officer"]


def is_officer(user: Any) -> bool:
    """Whether the account may act on the certificates, requests and orders of every team."""
    return holds(user, Permission.ACT_FOR_EVERY_TEAM)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who acts. `user` is None only for the portal's own commands and schedules, which may do everything.

    `team` narrows a user to one team, as an API token does. No role of the user counts then.
    """

    actor: Actor
    user: Any = None
    team: Team | None = None

    def holds(self, permission: Permission) -> bool:
        """Whether the actor holds a permission that reaches beyond the actor's own teams."""
        if self.team is not None:
            return False
        return self.user is None or holds(self.user, permission)

    @property
    def is_officer(self) -> bool:
        """Whether the actor may act for every team."""
        return self.holds(Permission.ACT_FOR_EVERY_TEAM)

    @property
    def may_decide_keys(self) -> bool:
        """Whether the actor may block a public key permanently, and undo a block."""
        return self.holds(Permission.DECIDE_KEYS)

    def visible(self) -> CertificateQuerySet:
        """The certificates whose existence this actor may learn."""
        rows = Certificate.objects.select_related("team", "issuer", "request", "key", "revocation")
        if self.user is not None:
            rows = rows.visible_to(self.user)
        return rows if self.team is None else rows.filter(team=self.team)

    def belongs_to(self, team: Team) -> bool:
        """Whether the actor is a member of the team now, or the portal itself."""
        if self.team is not None and self.team.pk != team.pk:
            return False
        return self.user is None or is_member(self.user, team)

    def may_act_on(self, row: Certificate | CertificateRequest | BulkOrder) -> bool:
        """Whether the actor may renew, revoke, cancel or resume it: members of its team, and officers."""
        return self.belongs_to(row.team) or self.is_officer

    def check_may_act(self, row: Certificate | CertificateRequest | BulkOrder) -> None:
        """Raise NotFound for what the actor may not even see, NotPermitted for what the actor may only look at."""
        if self.may_act_on(row):
            return
        if not self.may_see(row):
            raise NotFound(f"There is no such {_KIND[type(row)]}.")
        raise NotPermitted(
            "Only members of its team and the security team may do this.",
            field="cert_id" if isinstance(row, Certificate) else "",
            next_step=f"Ask team {row.team.name}.",
        )

    def may_see(self, row: Certificate | CertificateRequest | BulkOrder) -> bool:
        """Whether the actor may learn of its existence."""
        return self.belongs_to(row.team) or self.holds(Permission.SEE_EVERY_TEAM)


_KIND = {Certificate: "certificate", CertificateRequest: "request", BulkOrder: "bulk order"}
