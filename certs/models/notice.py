"""What people must be told: alerts for operators in the portal, and mails waiting to be sent."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class OperatorAlert(models.Model):
    """Something that a person must look at. One open alert for a cause; repeats only count up."""

    kind = models.CharField(max_length=32)
    cause = models.CharField(max_length=128, help_text="What the alert is about, such as ca:Internal-CA-Prod.")
    message = models.CharField(max_length=1000)
    next_step = models.CharField(max_length=500)
    occurrences = models.PositiveIntegerField(default=1)
    raised_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "cause"], condition=models.Q(closed_at__isnull=True), name="alert_open_once")
        ]

    def __str__(self) -> str:
        return self.message


class OutgoingMail(models.Model):
    """A mail written in the transaction of the thing it tells of, and sent afterwards: never lost, and once for each key."""

    dedup_key = models.CharField(max_length=160, unique=True)
    to = models.JSONField()
    subject = models.CharField(max_length=200)
    body = models.TextField()
    written_at = models.DateTimeField()
    not_before = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.subject
