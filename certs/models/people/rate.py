"""Counters of what a person or a team may do only so often."""

from __future__ import annotations

from django.db import models


class RateCounter(models.Model):
    """What was used of one limit in its present window. See `certs.access.rates`."""

    key = models.CharField(max_length=200, unique=True)
    used = models.PositiveIntegerField(default=0)
    ends_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.key
