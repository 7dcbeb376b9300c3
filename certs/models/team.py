"""Teams, the domains they own and who is in them."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Team(models.Model):
    """Owner of names, keys and certificates. Rows point at the team, not at a person who may leave."""

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=128)
    default_domain = models.CharField(max_length=253, help_text="Completes a bare label: api-1 becomes api-1.<default domain>.")
    organization = models.CharField(max_length=64, blank=True, help_text="Subject O of the team's certificates; never taken from a CSR.")
    email = models.EmailField(blank=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="teams", blank=True)

    def __str__(self) -> str:
        return self.name

    def domain_names(self) -> tuple[str, ...]:
        return tuple(self.domains.order_by("name").values_list("name", flat=True))


class Domain(models.Model):
    """A domain and everything beneath it belongs to one team; a longer match of another team takes its part out."""

    name = models.CharField(max_length=253, unique=True, help_text="Lower-case A-label form, such as example.com.")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="domains")

    def __str__(self) -> str:
        return self.name
