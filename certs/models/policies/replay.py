"""Replays of policy versions: the job, its parts, and what was found."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class PolicyReplay(models.Model):
    """One replay of one version. `summary` is JSON, so that an old replay reads as it did."""

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        CANCELLED = "cancelled"
        FAILED = "failed"

    public_id = models.CharField(max_length=48, unique=True)
    version = models.ForeignKey("policy.PolicyVersion", on_delete=models.CASCADE, related_name="replays")
    version_name = models.CharField(max_length=32)
    rules_digest = models.CharField(max_length=64)
    starts = models.DateTimeField(help_text="From when the version counts in this replay.")
    days_back = models.PositiveIntegerField(help_text="Requests of so many days were judged.")
    compared_with = models.JSONField(help_text="Digests of the versions in force and planned.")
    waivers = models.JSONField(default=list)
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    asked_by = models.CharField(max_length=200)
    begun_at = models.DateTimeField(help_text="The inventory is as of then.")
    ended_at = models.DateTimeField(null=True)
    last_certificate = models.BigIntegerField(help_text="The newest one that was judged.")
    summary = models.JSONField(default=dict)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        default_permissions = ()
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["id"], condition=models.Q(state="running"), name="replay_running"),
        ]

    def __str__(self) -> str:
        return self.public_id


class ReplayPart(models.Model):
    """A range of certificates or requests: what one worker judges at a time, and begins again if it is killed."""

    class Kind(models.TextChoices):
        CERTIFICATES = "certificates"
        REQUESTS = "requests"

    replay = models.ForeignKey(PolicyReplay, on_delete=models.CASCADE, related_name="parts")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    tries = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    result = models.JSONField(default=dict)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.first} to {self.last}"


class ReplayFinding(models.Model):
    """One certificate or request that the version would treat differently, or refuse as before.

    There can be a million of them. Certificates, requests and teams are never deleted, so these
    columns carry no constraints, which would be checked row by row.
    """

    replay = models.ForeignKey(PolicyReplay, on_delete=models.CASCADE, db_index=False, related_name="findings")
    part = models.ForeignKey(ReplayPart, on_delete=models.CASCADE, db_index=False, db_constraint=False)
    certificate = models.ForeignKey(
        "certs.Certificate", on_delete=models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+"
    )
    request = models.ForeignKey(
        "certs.CertificateRequest", on_delete=models.DO_NOTHING, null=True, db_index=False, db_constraint=False, related_name="+"
    )
    team = models.ForeignKey("certs.Team", on_delete=models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+")
    outcome = models.CharField(max_length=12)
    before = models.CharField(max_length=12)
    on = models.DateField(help_text="The day on which the certificate is to be renewed, or was requested.")
    reason = models.PositiveIntegerField(help_text="Which of the texts in the result of the part.")

    class Meta:
        default_permissions = ()
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["replay", "outcome", "id"], name="replay_finding_outcome"),
            models.Index(fields=["replay", "team", "outcome", "id"], name="replay_finding_team"),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} {self.certificate_id or self.request_id}"
