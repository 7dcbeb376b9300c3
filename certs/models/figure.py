"""Counts of the inventory that are kept, because nobody counts a million rows while a page waits."""

from __future__ import annotations

from django.db import models


class StateFigure(models.Model):
    """How many certificates were in a state when they were last counted."""

    state = models.CharField(max_length=16, primary_key=True)
    count = models.PositiveBigIntegerField()
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.state}: {self.count}"
