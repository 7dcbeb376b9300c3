"""A team asks for a domain: who asked, why, and what was decided."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from certs.models.people.permission import team_seen_by
from certs.models.people.team import Team
from certs.x509.domains import NORMAL_FORM


class DomainRequestQuerySet(models.QuerySet["DomainRequest"]):
    """Requests for domains, with their teams and persons."""

    def visible_to(self, user: Any) -> DomainRequestQuerySet:
        """Those of the user's teams; of every team for accounts that may see them."""
        return self.filter(team_seen_by(user)).select_related("team", "requester", "decided_by")

    def waiting(self) -> DomainRequestQuerySet:
        """Those that nobody has decided yet."""
        return self.filter(state=DomainRequest.State.WAITING)


class DomainRequest(models.Model):
    """A domain that a team asks for. It is decided once; the same can be asked for again later."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        GRANTED = "granted", "granted"
        REFUSED = "refused", "refused"
        WITHDRAWN = "withdrawn", "withdrawn"

    public_id = models.CharField(max_length=40, unique=True)
    domain = models.CharField(max_length=253, help_text="In lower-case A-label form.")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="domain_requests")
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    why = models.CharField(max_length=500)
    requested_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=State, default=State.WAITING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    comment = models.CharField(max_length=500, blank=True)

    objects = DomainRequestQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=models.Q(domain__regex=NORMAL_FORM), name="domain_request_is_normal"),
            models.UniqueConstraint(fields=["domain", "team"], condition=models.Q(state="waiting"), name="domain_request_waits_once"),
        ]
        indexes = [
            models.Index(fields=["requested_at"], condition=models.Q(state="waiting"), name="domain_request_waiting"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def subject(self) -> str:
        """The audit log's subject of everything that happens to this request."""
        return f"domain-request:{self.public_id}"
