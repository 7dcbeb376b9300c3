"""Views of the inventory that people saved under a name."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from certs.models.people.permission import teams_seen_by


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def visible_to(self, user: Any) -> SavedViewQuerySet:
        """Return the person's own views, and those shared with teams that the person may see now."""
        teams = teams_seen_by(user)
        shared = Q(team__isnull=False) if teams is None else Q(team__in=teams)
        return self.filter(Q(person=user) | shared)


class SavedView(models.Model):
    """A filter and an order of the inventory under a name: the query of its address.

    It grants nothing: who opens it sees the certificates that the person may see.
    """

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    team = models.ForeignKey(
        "certs.Team",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="The team with which the view is shared; none for a private view.",
    )
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)
    created_at = models.DateTimeField()

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["person", "name"], name="saved_view_name_once")]

    def __str__(self) -> str:
        return self.name
