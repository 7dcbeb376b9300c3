"""What an account has besides Django's own: a time zone, and the sessions that are signed in."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class PersonSettings(models.Model):
    """How the portal is shown to a person. Without a row: times in UTC."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="portal_settings")
    time_zone = models.CharField(max_length=64, blank=True, help_text="A name of the IANA database; empty for UTC.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id}: {self.time_zone or 'UTC'}"


class SignedInSession(models.Model):
    """A session that a person began by signing in. It lives as long as Django's session of the same key."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="signed_in_sessions")
    key = models.CharField(max_length=40, unique=True)
    began_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, help_text="To within some minutes.")
    address = models.CharField(max_length=64, blank=True)
    browser = models.CharField(max_length=80, blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id} since {self.began_at:%Y-%m-%d %H:%M}"
