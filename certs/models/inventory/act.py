"""Acts on many certificates: ordered once, carried out line by line."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from certs.models.people.permission import Permission, holds


class BulkActQuerySet(models.QuerySet["BulkAct"]):
    def visible_to(self, user: Any) -> BulkActQuerySet:
        """Return the person's own acts; every submitted one for those who see every team."""
        if holds(user, Permission.SEE_EVERY_TEAM):
            others = ~models.Q(state=BulkAct.State.DRAFT)
            return self.filter(models.Q(person=user) | others)
        return self.filter(person=user)


class BulkAct(models.Model):
    """One act on many certificates: renew, revoke, change the owner, add or remove a tag.

    Its lines are written when the draft is made and never change in number: certificates that
    enter the filter later are not part of it.
    """

    class Kind(models.TextChoices):
        RENEW = "renew", "Renew"
        REVOKE = "revoke", "Revoke"
        OWNER = "owner", "Change owner"
        ADD_TAG = "add_tag", "Add tag"
        REMOVE_TAG = "remove_tag", "Remove tag"

    class State(models.TextChoices):
        DRAFT = "draft", "not begun"
        RUNNING = "running", "running"
        PAUSED = "paused", "paused"
        CANCELLED = "cancelled", "cancelled"
        DONE = "done", "done"

    public_id = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=12, choices=Kind)
    state = models.CharField(max_length=12, choices=State, default=State.DRAFT)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    query = models.CharField(max_length=1000, blank=True, help_text="The view of which all were selected.")
    options = models.JSONField(default=dict, help_text="Reason and comment, owner, or tag; empty until they are chosen.")
    total = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    submitted_at = models.DateTimeField(null=True)
    worked_at = models.DateTimeField(null=True, help_text="When a worker last took a line.")
    finished_at = models.DateTimeField(null=True)
    paused_by_security_team = models.BooleanField(default=False)

    objects = BulkActQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["person", "-id"], name="bulk_act_person_recent"),
            models.Index(fields=["state"], condition=models.Q(state="running"), name="bulk_act_running"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def subject(self) -> str:
        """Return the audit log's subject of what happens to the act itself."""
        return f"act:{self.public_id}"


class BulkActLine(models.Model):
    """One certificate of an act, and what became of it."""

    class Outcome(models.TextChoices):
        WAITING = "waiting", "waiting"
        DONE = "done", "done"
        UNCHANGED = "unchanged", "was so already"
        REFUSED = "refused", "refused"
        FAILED = "failed", "failed"
        LEFT_OUT = "left_out", "left out"
        CANCELLED = "cancelled", "not begun"

    act = models.ForeignKey(BulkAct, on_delete=models.CASCADE, related_name="lines", db_index=False)
    number = models.PositiveIntegerField()
    certificate = models.ForeignKey("certs.Certificate", on_delete=models.CASCADE, related_name="+", db_index=False)
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    advice = models.CharField(max_length=500, blank=True)
    result = models.CharField(max_length=40, blank=True, help_text="The request of a renewal.")
    owner_before = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text="Who owned it until the act gave it to somebody else.",
    )
    tries = models.PositiveSmallIntegerField(default=0)
    done_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["act", "number"], name="bulk_act_line_once"),
            models.UniqueConstraint(fields=["act", "certificate"], name="bulk_act_once"),
        ]
        indexes = [
            models.Index(
                fields=["act", "number"],
                condition=models.Q(outcome="waiting"),
                name="bulk_act_line_waiting",
            )
        ]

    def __str__(self) -> str:
        return f"{self.act_id}, line {self.number}: {self.outcome}"
