"""Webhooks of teams, and the log of their deliveries."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Webhook(models.Model):
    """An address of a team to which notices are sent, signed as standardwebhooks.com describes.

    The row holds no secret: the signing secret is derived from `salt` and the portal's SECRET_KEY.
    """

    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="webhooks")
    name = models.CharField(max_length=64)
    url = models.CharField(max_length=500)
    topics = models.JSONField(default=list)
    salt = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    failing_since = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "name"],
                condition=models.Q(removed_at__isnull=True),
                name="webhook_name_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class WebhookDelivery(models.Model):
    """One message to one webhook. Waiting, delivered (`delivered_at`) or given up."""

    webhook = models.ForeignKey(Webhook, on_delete=models.PROTECT, related_name="deliveries", db_index=False)
    message_id = models.CharField(max_length=40, unique=True)
    topic = models.CharField(max_length=32)
    body = models.TextField(help_text="The JSON document, exactly as it is signed.")
    created_at = models.DateTimeField()
    not_before = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)
    last_tried_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["webhook", "-id"], name="webhook_delivery_recent"),
            models.Index(
                fields=["not_before"],
                condition=models.Q(delivered_at__isnull=True, given_up_at__isnull=True),
                name="webhook_delivery_waiting",
            ),
        ]

    def __str__(self) -> str:
        return self.message_id
