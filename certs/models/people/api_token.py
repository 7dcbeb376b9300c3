"""Bearer tokens of the REST API: random, stored as a hash, scoped."""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.db import models


class ApiToken(models.Model):
    """A token acts for one user and one team, within its scopes. The token itself is shown once and never stored."""

    name = models.CharField(max_length=64)
    prefix = models.CharField(max_length=12, help_text="The first characters, to tell tokens apart.")
    sha256 = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="api_tokens")
    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="api_tokens")
    scopes = models.JSONField(default=list)
    profiles = models.JSONField(default=list, help_text="Profiles it may ask for; empty for all.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To within some minutes.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=200, blank=True, db_default="", help_text="Why it was revoked.")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


def token_sha256(token: str) -> str:
    """A random 256-bit token needs no slow hash: it cannot be guessed from its digest."""
    return hashlib.sha256(token.encode()).hexdigest()
