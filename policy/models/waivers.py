"""Waivers as rows: an exception from one rule, for named names or teams, with a begin and an end."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from policy.models.versions import Policy
from policy.waivers.waiver import Waiver, waiver_from_dict


class PolicyWaiver(models.Model):
    """What was requested never changes; an approval and an end are added to it.

    `params` are the parameters with which the rule counts instead, `names` and `teams` whom it
    reaches. A second person approves it.
    """

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="waivers")
    rule = models.CharField(max_length=64)
    params = models.JSONField(default=dict)
    names = models.JSONField(default=list)
    teams = models.JSONField(default=list, help_text="Slugs of teams; slugs are final.")
    reason = models.CharField(max_length=1000)
    begins = models.DateTimeField()
    ends = models.DateTimeField()
    requested_at = models.DateTimeField()
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    approved_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="Rejected, or ended before its time.")
    ended_by = models.CharField(max_length=200, blank=True)
    end_reason = models.CharField(max_length=500, blank=True)

    class Meta:
        verbose_name = "waiver"
        default_permissions = ("view",)
        ordering: ClassVar[list[str]] = ["-pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(ends__gt=F("begins")), name="waiver_has_a_duration"),
            models.CheckConstraint(
                condition=Q(approver__isnull=True, approved_at__isnull=True) | Q(approver__isnull=False, approved_at__isnull=False),
                name="waiver_approval_is_complete",
            ),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def reference(self) -> str:
        """Return the name by which decisions and people refer to it, such as W-12."""
        return f"W-{self.pk}"

    @property
    def subject(self) -> str:
        """Return the audit log's subject of what happens to it."""
        return f"waiver:{self.reference}"

    @property
    def digest(self) -> str:
        """Return a digest of what was requested; the audit events carry it."""
        content = {
            "policy": self.policy_id,
            "rule": self.rule,
            "params": self.params,
            "names": self.names,
            "teams": self.teams,
            "begins": self.begins.astimezone(UTC).isoformat(),
            "ends": self.ends.astimezone(UTC).isoformat(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def state_at(self, now: datetime) -> str:
        """Return waiting, rejected, planned, active or ended."""
        if self.approved_at is None:
            return "waiting" if self.ended_at is None else "rejected"
        if self.ended_at is not None or self.ends <= now:
            return "ended"
        return "planned" if self.begins > now else "active"

    @property
    def waiver(self) -> Waiver:
        """Return what the engine judges with. Raises RuleSetInvalid for a row that was altered."""
        return waiver_from_dict(self.reference, self.rule, self.params, names=self.names, teams=self.teams)
