"""Tries to sign in, counted against limits, and the moment from which a user's sessions count."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class SignInCounter(models.Model):
    """Tries against one limit in one window; or, with the kind `known`, a place of an account.

    What was typed as a name may be a password in the wrong field. `key` is therefore a keyed hash,
    and `name` is filled for existing accounts only.
    """

    key = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=16)
    name = models.CharField(max_length=150, blank=True)
    network = models.CharField(max_length=64, blank=True)
    tries = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    recorded = models.PositiveIntegerField(default=0, help_text="Of both, in audit events already.")
    begun_at = models.DateTimeField()
    ends_at = models.DateTimeField(db_index=True)


class SessionsEnded(models.Model):
    """Sessions of the user that began before `at` have ended: the account was deactivated then."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sessions_ended")
    at = models.DateTimeField()
