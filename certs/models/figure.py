"""Counts of the inventory that are kept, because nobody counts a million rows while a page waits."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Figure(models.Model):
    """How many certificates of a team had something in common when they were last counted.

    Rows without a team hold the sums over all teams. A count of zero has no row. The kinds and
    their values: `certs.inventory.counting`.
    """

    team = models.ForeignKey("certs.Team", on_delete=models.CASCADE, null=True, related_name="+")
    kind = models.CharField(max_length=16)
    value = models.CharField(max_length=96, blank=True)
    count = models.PositiveBigIntegerField()
    since = models.DateTimeField(db_default=Now(), help_text="When it was counted first; it has not been zero since.")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["team", "kind", "value"], name="figure_once"),
            models.UniqueConstraint(
                fields=["kind", "value"],
                condition=models.Q(team__isnull=True),
                name="figure_of_all_once",
            ),
        ]
        indexes = [models.Index(fields=["kind", "value"], name="figure_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}: {self.count}"


class FigureCount(models.Model):
    """The one row that says as of when the figures are."""

    counted_at = models.DateTimeField()
    seconds = models.FloatField(help_text="How long the count took.")

    class Meta:
        default_permissions = ()


class ComplianceDay(models.Model):
    """How many active certificates of a team complied with the policy in force on a day (UTC).

    Rows without a team hold the sums. The last judgement of a day counts; a day without one is a
    gap in the line, never an estimate.
    """

    day = models.DateField()
    team = models.ForeignKey("certs.Team", on_delete=models.CASCADE, null=True, related_name="+")
    policy_version = models.CharField(max_length=32)
    active = models.PositiveBigIntegerField()
    failing = models.PositiveBigIntegerField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["team", "day"], name="compliance_day_once"),
            models.UniqueConstraint(
                fields=["day"],
                condition=models.Q(team__isnull=True),
                name="compliance_day_of_all_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.active - self.failing} of {self.active}"
