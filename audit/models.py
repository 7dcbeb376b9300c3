"""The tables of the ledger. Events, leaves and checkpoints are append-only: `audit.triggers` refuses every other write."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.db import models

from audit.events import MAX_NAME_CHARS


class AppendOnly(models.Model):
    """A row that only `audit.log` or `audit.transparency.sealer` writes, with their own statements; the ORM may read it."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not written through the ORM. Use audit.log.record() or record_many().")

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is append-only; nothing deletes from it.")


class AuditEvent(AppendOnly):
    """One thing that happened. (subject, subject_seq) has no gaps; gaps in `id` mean nothing (a transaction rolled back)."""

    id = models.BigAutoField(primary_key=True)
    event = models.CharField(max_length=64)
    subject = models.CharField(max_length=MAX_NAME_CHARS)
    subject_seq = models.BigIntegerField()
    actor_kind = models.CharField(max_length=16)
    actor_name = models.CharField(max_length=MAX_NAME_CHARS)
    at = models.DateTimeField()
    data = models.JSONField()

    class Meta:
        db_table = "audit_event"
        default_permissions = ("view",)
        constraints: ClassVar = [models.UniqueConstraint(fields=["subject", "subject_seq"], name="audit_event_subject_seq")]
        # Not with the id, by which equal times are ordered: entries of one batch then share a key,
        # which keeps the two long indexes at a third of the size.
        indexes: ClassVar = [
            models.Index(fields=["at"], name="audit_event_at"),
            models.Index(fields=["event", "at"], name="audit_event_kind"),
            models.Index(fields=["actor_name", "at"], name="audit_event_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.subject}"


class AuditSubject(models.Model):
    """The last sequence number given out for a subject."""

    subject = models.CharField(max_length=MAX_NAME_CHARS, primary_key=True)
    last_seq = models.BigIntegerField()

    class Meta:
        db_table = "audit_subject"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.subject} up to {self.last_seq}"


class AuditUnsealed(models.Model):
    """An event that waits to be sealed. `mac` is keyed by SECRET_KEY, so an event changed before its sealing shows."""

    # No constraint in the database: its check would lock every event row once more. `verify_audit` compares both ways.
    event = models.OneToOneField(AuditEvent, models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="unsealed")
    mac = models.BinaryField()

    class Meta:
        db_table = "audit_unsealed"
        default_permissions = ()

    def __str__(self) -> str:
        return f"event {self.pk}, not sealed"


class SealedLeaf(AppendOnly):
    """An event's place in the Merkle tree of its epoch, and its leaf hash (RFC 9162 2.1.1)."""

    event = models.OneToOneField(AuditEvent, models.DO_NOTHING, primary_key=True, db_constraint=False, related_name="leaf")
    epoch = models.PositiveIntegerField()
    leaf_index = models.BigIntegerField()
    leaf_hash = models.BinaryField()

    class Meta:
        db_table = "audit_sealed_leaf"
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["epoch", "leaf_index"], name="audit_leaf_index")]

    def __str__(self) -> str:
        return f"leaf {self.leaf_index} of epoch {self.epoch}"


class Checkpoint(AppendOnly):
    """A signed statement about the tree: its size, its root and the note (C2SP tlog-checkpoint) that went to the sinks.

    `frontier` holds the roots of the perfect subtrees, 32 bytes each, from which the tree grows on; its root is `root_hash`.
    """

    id = models.BigAutoField(primary_key=True)
    epoch = models.PositiveIntegerField()
    tree_size = models.BigIntegerField()
    root_hash = models.BinaryField()
    frontier = models.BinaryField()
    note = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "audit_checkpoint"
        default_permissions = ("view",)
        constraints: ClassVar = [models.UniqueConstraint(fields=["epoch", "tree_size"], name="audit_checkpoint_size")]

    def __str__(self) -> str:
        return f"checkpoint at {self.tree_size} of epoch {self.epoch}"


class EpochKey(models.Model):
    """The verifier key of an epoch as text (C2SP signed-note), for processes that cannot read the sealer's files."""

    epoch = models.PositiveIntegerField(primary_key=True)
    verifier = models.TextField()

    class Meta:
        db_table = "audit_epoch_key"
        default_permissions = ()

    def __str__(self) -> str:
        return f"key of epoch {self.epoch}"


class TreeNode(models.Model):
    """The root of a full tile: 256**level leaves, from `node_index` * 256**level on (C2SP tlog-tiles).

    Derived from the leaves (`audit.transparency.nodes`), so that a proof reads some hundred rows and
    not the whole log. One row for 256 leaves. `verify_audit` compares them with the leaves.
    """

    pk = models.CompositePrimaryKey("epoch", "level", "node_index")
    epoch = models.PositiveIntegerField()
    level = models.PositiveSmallIntegerField()
    node_index = models.BigIntegerField()
    node_hash = models.BinaryField()

    class Meta:
        db_table = "audit_tree_node"
        default_permissions = ()

    def __str__(self) -> str:
        return f"node {self.node_index} of level {self.level}, epoch {self.epoch}"


class Cosignature(models.Model):
    """The signature line of a witness on a checkpoint (C2SP tlog-cosignature), verified before it was stored."""

    pk = models.CompositePrimaryKey("checkpoint_id", "witness")
    checkpoint_id = models.BigIntegerField()
    witness = models.CharField(max_length=MAX_NAME_CHARS)
    line = models.TextField()
    signed_at = models.DateTimeField()

    class Meta:
        db_table = "audit_cosignature"
        default_permissions = ()

    def __str__(self) -> str:
        return f"cosignature of {self.witness}"


class WitnessState(models.Model):
    """How the last exchange with a witness went: for operators, and to know from where to go on. No evidence of anything.

    `cosigned_size` and `epoch`: the newest tree that it has cosigned.
    """

    witness = models.CharField(max_length=MAX_NAME_CHARS, primary_key=True)
    epoch = models.PositiveIntegerField(default=0)
    cosigned_size = models.BigIntegerField(default=0)
    cosigned_at = models.DateTimeField(null=True)
    tried_at = models.DateTimeField()
    since = models.DateTimeField(help_text="Since when the witness is configured, for one that never answered.")
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        db_table = "audit_witness_state"
        default_permissions = ()

    def __str__(self) -> str:
        return self.witness
