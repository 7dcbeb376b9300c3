"""How people come into a team: an invitation by mail, or a request of a person who has an account."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.models.people.team import Team


class Invitation(models.Model):
    """An invitation to one mail address. Open, accepted, withdrawn, or at its end.

    `token_sha256` is all that is kept of the link's token, which is derived from `nonce` and the
    portal's SECRET_KEY when the mail is sent: neither the row nor the waiting mail can be used.
    """

    address = models.EmailField()
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="invitations")
    as_lead = models.BooleanField(default=False, help_text="The person is to lead the team.")
    role = models.ForeignKey("auth.Group", on_delete=models.CASCADE, null=True, related_name="+")
    nonce = models.CharField(max_length=64)
    token_sha256 = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField()
    sent_times = models.PositiveSmallIntegerField(default=1)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.address


class JoinRequestQuerySet(models.QuerySet["JoinRequest"]):
    """Requests to join a team."""

    def open(self) -> JoinRequestQuerySet:
        """Those that nobody has answered, of accounts that are active; the oldest first."""
        return self.filter(decided_at=None, person__is_active=True).select_related("person", "team").order_by("asked_at", "pk")


class JoinRequest(models.Model):
    """A person asks a team to take the person in. At most one is open for each person and team."""

    class Outcome(models.TextChoices):
        ACCEPTED = "accepted", "taken in"
        DECLINED = "declined", "declined"
        WITHDRAWN = "withdrawn", "withdrawn"

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="join_requests")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="join_requests")
    why = models.CharField(max_length=300)
    asked_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)
    answer = models.CharField(max_length=300, blank=True)

    objects: Any = JoinRequestQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["person", "team"], condition=Q(decided_at=None), name="join_request_open_once")]
        indexes = [models.Index(fields=["team", "asked_at"], condition=Q(decided_at=None), name="join_request_open")]

    def __str__(self) -> str:
        return f"{self.person} to {self.team}"
