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


class SecondFactorGrace(models.Model):
    """Until when a person whose role requires a second factor may work without one."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="second_factor_grace")
    until = models.DateTimeField()
    given_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=200)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user} until {self.until:%Y-%m-%d %H:%M}"


class GroupMapping(models.Model):
    """A group of the identity provider gives membership of a team, or a role of the portal."""

    group = models.CharField(
        max_length=200,
        help_text="A value of the groups claim, exactly as the identity provider sends it.",
    )
    team = models.ForeignKey("certs.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    role = models.ForeignKey("auth.Group", on_delete=models.CASCADE, null=True, blank=True, related_name="+")

    class Meta:
        verbose_name = "mapping of a provider's group"
        verbose_name_plural = "mappings of a provider's groups"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(team__isnull=False, role__isnull=True) | models.Q(team__isnull=True, role__isnull=False),
                name="group_mapping_gives_one_thing",
                violation_error_message="Choose a team or a role, one of the two.",
            ),
            models.UniqueConstraint(
                fields=["group", "team"],
                condition=models.Q(team__isnull=False),
                name="group_mapping_team_once",
            ),
            models.UniqueConstraint(
                fields=["group", "role"],
                condition=models.Q(role__isnull=False),
                name="group_mapping_role_once",
            ),
        ]

    def __str__(self) -> str:
        gives = f"team {self.team}" if self.team_id else f"role {self.role}"
        return f"{self.group} gives {gives}"
