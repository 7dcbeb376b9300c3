"""What goes on while a request waits for an approval: its time limit, questions, and deputies of approvers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q


class ApprovalLimit(models.Model):
    """Until when a request waits for its approval. Written when it begins to wait, and never moved; deleted once it is reached."""

    request = models.OneToOneField("certs.CertificateRequest", on_delete=models.PROTECT, primary_key=True, related_name="approval_limit")
    lapses_at = models.DateTimeField(db_index=True)
    remind_at = models.DateTimeField(null=True, help_text="When the approvers are reminded next.")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["remind_at"], condition=Q(remind_at__isnull=False), name="approval_limit_remind")]

    def __str__(self) -> str:
        return f"{self.request_id} until {self.lapses_at:%Y-%m-%d %H:%M}"


class ApprovalQuestion(models.Model):
    """What an approver asked the requester before deciding, with the answer once there is one."""

    request = models.ForeignKey("certs.CertificateRequest", on_delete=models.PROTECT, related_name="questions")
    asker = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    question = models.CharField(max_length=500)
    asked_at = models.DateTimeField()
    answerer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    answer = models.CharField(max_length=500, blank=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            # One at a time: the next question waits for the answer to the last one.
            models.UniqueConstraint(fields=["request"], condition=Q(answered_at__isnull=True), name="approval_question_open_once"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}: {self.question[:40]}"


class DeputyQuerySet(models.QuerySet["Deputy"]):
    """Deputies of approvers."""

    def at(self, now: datetime) -> DeputyQuerySet:
        """Those who stand in at `now`."""
        return self.filter(ended_at__isnull=True, until__gt=now)


class Deputy(models.Model):
    """Another approver gets an approver's mails about approvals until a date. It gives nobody a right."""

    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    deputy = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    named_at = models.DateTimeField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects: Any = DeputyQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["approver"], condition=Q(ended_at__isnull=True), name="deputy_one_at_a_time"),
        ]

    def __str__(self) -> str:
        return f"{self.deputy_id} for {self.approver_id} until {self.until:%Y-%m-%d}"
