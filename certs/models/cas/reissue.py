"""Re-issuing: every valid certificate of one CA is renewed by another, because the first is lost or given up."""

from __future__ import annotations

from django.db import models


class Reissue(models.Model):
    """One re-issue: planned, then started by a person; the renewal schedule does the work, as far as the target's budget goes."""

    class State(models.TextChoices):
        PLANNED = "planned", "planned"
        RUNNING = "running", "running"
        PAUSED = "paused", "paused"
        DONE = "done", "done"
        CANCELLED = "cancelled", "cancelled"

    UNDER_WAY = (State.RUNNING, State.PAUSED)

    public_id = models.CharField(max_length=40, unique=True)
    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="reissues")
    target = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="+", help_text="The CA that issues instead.")
    state = models.CharField(max_length=12, choices=State, default=State.PLANNED)
    reason = models.CharField(max_length=300)
    planned_by = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # The forecast: what would be done. Computed in the background; nothing is made for it.
    checked = models.PositiveIntegerField(default=0, help_text="Certificates that the forecast has looked at.")
    forecast = models.JSONField(default=dict, blank=True)
    forecast_at = models.DateTimeField(null=True, blank=True, help_text="When the forecast was finished.")
    # How far it is, counted by a schedule.
    left = models.PositiveIntegerField(default=0, help_text="Valid certificates without a renewal.")
    need_person = models.PositiveIntegerField(default=0, help_text="Of those left: blocked, or switched off.")
    begun = models.PositiveIntegerField(default=0, help_text="Renewals under way.")
    issued = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    counted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["issuer"], condition=models.Q(state__in=["running", "paused"]), name="reissue_under_way_once")
        ]

    def __str__(self) -> str:
        return self.public_id


def reissued_at_once() -> frozenset[int]:
    """Return ids of CAs whose certificates are due at once, because their re-issue runs."""
    return frozenset(Reissue.objects.filter(state=Reissue.State.RUNNING).values_list("issuer_id", flat=True))


def reissue_paused() -> frozenset[int]:
    """Return ids of CAs whose certificates are due at their usual time only, because a person paused their re-issue."""
    return frozenset(Reissue.objects.filter(state=Reissue.State.PAUSED).values_list("issuer_id", flat=True))
