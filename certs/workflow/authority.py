"""Who may do what to a certificate: its team, the security team, and the portal's own commands and schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.log import Actor
from certs.errors import NotFound, NotPermitted
from certs.models import Certificate, Team
from certs.models.certificate import CertificateQuerySet

SECURITY_TEAM = "security-team"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who acts. `user` is None only for the portal's own commands and schedules, which may do everything. `team` narrows a
    user to one team, as an API token does; then being of the security team gives no more.
    """

    actor: Actor
    user: Any = None
    team: Team | None = None

    @property
    def is_officer(self) -> bool:
        """May block a key for ever, and act on any team's certificates."""
        if self.user is None:
            return self.team is None
        if self.team is not None or not self.user.is_active:
            return False
        return bool(self.user.is_superuser or self.user.groups.filter(name=SECURITY_TEAM).exists())

    def visible(self) -> CertificateQuerySet:
        """The certificates whose existence this actor may learn."""
        rows = Certificate.objects.select_related("team", "issuer", "request", "key", "revocation")
        if self.team is not None:
            return rows.filter(team=self.team)
        return rows if self.user is None else rows.visible_to(self.user)

    def may_act_on(self, certificate: Certificate) -> bool:
        """Members of its team and the security team may renew and revoke it; auditors only look."""
        if self.is_officer:
            return True
        if self.team is not None and self.team.pk != certificate.team_id:
            return False
        if self.user is None or not self.user.is_active:
            return False
        return bool(self.user.is_superuser or certificate.team.members.filter(pk=self.user.pk).exists())

    def check_may_act(self, certificate: Certificate) -> None:
        """Raises NotFound for what the actor may not even see, NotPermitted for what they may only look at."""
        if self.may_act_on(certificate):
            return
        if not self.visible().filter(pk=certificate.pk).exists():
            raise NotFound("no such certificate")
        raise NotPermitted(
            "Only members of its team and the security team may do this.", field="cert_id", next_step=f"Ask team {certificate.team.name}."
        )
