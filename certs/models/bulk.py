"""Bulk orders: many certificates asked for at once, kept line by line, worked off in chunks that the database hands out."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from certs.models.people.permission import team_seen_by
from db.sql import fetch


class BulkOrderQuerySet(models.QuerySet["BulkOrder"]):
    def visible_to(self, user: Any) -> BulkOrderQuerySet:
        """Orders of the user's teams, or of every team; none before all its lines are judged."""
        return self.exclude(state=BulkOrder.State.JUDGING).filter(team_seen_by(user))


class BulkOrder(models.Model):
    """One order. While it is a draft its lines are shown and may be changed; once submitted they never are."""

    class State(models.TextChoices):
        JUDGING = "judging", "being judged"
        DRAFT = "draft", "draft"
        RUNNING = "running", "running"
        PAUSED = "paused", "paused"
        CANCELLED = "cancelled", "cancelled"
        DONE = "done", "done"

    public_id = models.CharField(max_length=40, unique=True)
    state = models.CharField(max_length=12, choices=State, default=State.DRAFT)
    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="bulk_orders")
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    submitter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    actor_kind = models.CharField(max_length=16)
    actor_name = models.CharField(max_length=200)
    door = models.CharField(max_length=16)
    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="bulk_orders")
    title = models.CharField(max_length=200, help_text="The file's name, or the sentence's beginning.")
    notes = models.JSONField(default=list, help_text="What was assumed for all lines together, in words.")
    with_refused = models.BooleanField(default=False, help_text="Lines that the policy refused were submitted too, to be on record.")
    total = models.PositiveIntegerField(default=0, help_text="All lines: every row of the file is one.")
    not_submitted = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Lines of which no request was made: they cannot be read, or were left out."
    )
    paused_by_security_team = models.BooleanField(
        default=False, db_default=False, help_text="A pause that only the security team or an operator ends."
    )
    idempotency_scope = models.CharField(max_length=40, blank=True)
    idempotency_key = models.CharField(max_length=128, blank=True)
    content_sha256 = models.CharField(max_length=64, help_text="Of all lines, so that the same key with another content is refused.")
    created_at = models.DateTimeField()
    judged_at = models.DateTimeField(null=True, blank=True, help_text="When the last part of its lines was judged.")
    submitted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    ended_as = models.JSONField(
        null=True, blank=True, help_text="How many lines became what when it was finished, so that its page need not count them."
    )

    objects = BulkOrderQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["idempotency_scope", "idempotency_key"], condition=~models.Q(idempotency_key=""), name="bulk_order_key_once"
            )
        ]
        indexes = [
            models.Index(fields=["team", "-id"], name="bulk_order_team_recent"),
            models.Index(fields=["state"], condition=models.Q(state__in=["running", "paused"]), name="bulk_order_open"),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def subject(self) -> str:
        """The audit log's subject of everything that happens to this order."""
        return f"bulk:{self.public_id}"

    def teams_of_lines(self) -> frozenset[int]:
        """Return ids of the teams for which its lines are: one step of the index `bulk_item_team` for each, whatever its size."""
        rows = fetch(_TEAMS_OF_LINES, [self.pk, self.pk])
        return frozenset(int(team) for (team,) in rows if team is not None)


_TEAMS_OF_LINES = """
WITH RECURSIVE found(team_id) AS (
  SELECT min(team_id) FROM certs_bulkitem WHERE order_id = %s
  UNION ALL
  SELECT (SELECT min(i.team_id) FROM certs_bulkitem i WHERE i.order_id = %s AND i.team_id > found.team_id)
  FROM found WHERE found.team_id IS NOT NULL)
SELECT team_id FROM found
"""


class BulkItem(models.Model):
    """One line: what it asks for, what the policy says to it, and (from the request's side) the request made of it."""

    class Outcome(models.TextChoices):
        ALLOW = "allow", "will be issued"
        NEEDS_APPROVAL = "needs_approval", "needs approval"
        DENY = "deny", "refused by the policy"
        INVALID = "invalid", "cannot be read"

    order = models.ForeignKey(BulkOrder, on_delete=models.CASCADE, related_name="items", db_index=False)
    number = models.PositiveIntegerField()
    source = models.CharField(max_length=200, help_text="Where it stood, such as row 17.")
    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="+", db_index=False)
    common_name = models.CharField(max_length=253, blank=True)
    spec = models.JSONField(null=True, help_text="Names, key, validity and profile; null for a line that cannot be read.")
    csr_der = models.BinaryField(default=b"")
    spki_der = models.BinaryField(default=b"")
    given = models.JSONField(
        null=True,
        help_text="The cells of a line that cannot be read, by column, so that a person can correct them.",
    )
    notes = models.JSONField(default=list)
    outcome = models.CharField(max_length=16, choices=Outcome)
    reason = models.CharField(max_length=1000, blank=True)
    suggestion = models.JSONField(null=True, help_text="Changes that would pass, and the sentence that says them.")
    duplicate = models.CharField(max_length=200, blank=True, help_text="What else has the same names.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "number"], name="bulk_item_number_once")]
        indexes = [
            # The tabs of an order's page are counted and read from it, whatever the size of the order.
            models.Index(fields=["order", "outcome", "number"], include=["id"], name="bulk_item_outcome"),
            models.Index(fields=["order", "team"], name="bulk_item_team"),
            models.Index(fields=["order"], condition=~models.Q(duplicate=""), name="bulk_item_duplicate"),
            # Its orders: by name (2 us for each line), and by the reason of the few that have one.
            models.Index(fields=["order", "common_name", "number"], name="bulk_item_name"),
            models.Index(fields=["order", "number"], condition=~models.Q(reason=""), name="bulk_item_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.source}: {self.common_name}"


class BulkChunk(models.Model):
    """A run of lines that is worked off together. Only a few chunks of an order are in the queue; the rest waits here."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        QUEUED = "queued", "queued"
        DONE = "done", "done"
        CANCELLED = "cancelled", "cancelled"

    order = models.ForeignKey(BulkOrder, on_delete=models.CASCADE, related_name="chunks")
    first = models.PositiveIntegerField(help_text="Number of its first line.")
    last = models.PositiveIntegerField(help_text="Number of its last line.")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    key_backend = models.CharField(max_length=64, blank=True, help_text="Where its keys are made; empty when every CSR was brought.")
    retry = models.BooleanField(
        default=False, db_default=False, help_text="Its failed lines go on from where they stopped when it begins next."
    )
    queued_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    issued = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many lines it has, where each had its certificate as it was closed: none changes again."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "first"], name="bulk_chunk_first_once")]
        indexes = [models.Index(fields=["order"], condition=models.Q(state__in=["waiting", "queued"]), name="bulk_chunk_open")]

    def __str__(self) -> str:
        return f"{self.order}: {self.first} to {self.last}"
