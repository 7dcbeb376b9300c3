"""Teams, the domains they own and who is in them."""

from __future__ import annotations

from django.conf import settings
from django.db import connection, models


class Team(models.Model):
    """Owner of names, keys and certificates. Rows point at the team, not at a person who may leave."""

    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=128)
    default_domain = models.CharField(max_length=253, help_text="Completes a bare label: api-1 becomes api-1.<default domain>.")
    organization = models.CharField(max_length=64, blank=True, help_text="Subject O of the team's certificates; never taken from a CSR.")
    email = models.EmailField(blank=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="teams", blank=True)

    # As they were when this object was made to be kept for some seconds; see certs.api.auth.
    remembered_domains: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return self.name

    def domain_names(self) -> tuple[str, ...]:
        """The domains that the team owns, as they are now. (Asked for each CSR: the ORM costs four times the answer.)"""
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM certs_domain WHERE team_id = %s ORDER BY name", [self.pk])
            return tuple(row[0] for row in cursor.fetchall())


class Domain(models.Model):
    """A domain and everything beneath it belongs to one team; a longer match of another team takes its part out."""

    name = models.CharField(max_length=253, unique=True, help_text="Lower-case A-label form, such as example.com.")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="domains")

    def __str__(self) -> str:
        return self.name
