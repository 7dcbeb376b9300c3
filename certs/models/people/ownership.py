"""Certificates that get another owner in the background."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class OwnerChange(models.Model):
    """More certificates of a person than one transaction hands over, fixed when it was ordered.

    `certificates` holds their ids in ascending order; those before `done` have been dealt with.
    """

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    actor_kind = models.CharField(max_length=16)
    actor_name = models.CharField(max_length=150)
    certificates = models.JSONField()
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    ordered_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.total} certificates of {self.person}"
