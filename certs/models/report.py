"""The weekly compliance report, kept as it was computed."""

from __future__ import annotations

from django.db import models


class ComplianceReport(models.Model):
    """One report for each ISO 8601 week. Its facts are JSON, so that an old report reads as it did.

    A row without `as_of` is claimed: somebody computes it until `lease_until`.
    """

    week = models.CharField(max_length=8, unique=True, help_text="ISO 8601, such as 2026-W48.")
    as_of = models.DateTimeField(null=True, help_text="When its figures were read.")
    complete = models.BooleanField(default=False, help_text="Computed after the end of its week.")
    facts = models.JSONField(default=dict)
    list_csv = models.TextField(default="", help_text="What does not comply: the first certificates of the list, as CSV.")
    lease_until = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True, help_text="When its mails were put on the list to be sent.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.week
