"""Which certificates the policy in force would refuse today, as the last run found them."""

from __future__ import annotations

from django.db import models


class PolicyVerdict(models.Model):
    """A certificate that the policy in force refuses. Those that comply have no row.

    Rows of certificates that ended or were revoked stay until the next complete run; readers look
    at certificates in force only.
    """

    certificate = models.OneToOneField("certs.Certificate", on_delete=models.CASCADE, primary_key=True, related_name="verdict")
    rules = models.CharField(max_length=300, help_text="Names of the rules that refuse it, each between spaces.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.certificate_id}: {self.rules.strip()}"


class VerdictRun(models.Model):
    """How far the inventory is judged: one row, written by `certs.reports.verdicts` only."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    policy_version = models.CharField(max_length=32)
    policy_digest = models.CharField(max_length=64)
    begun_at = models.DateTimeField(help_text="When the run under way, or the last one, began.")
    judged_to = models.BigIntegerField(default=0, help_text="Certificates up to this id are done.")
    complete_at = models.DateTimeField(null=True, help_text="When the run came to the newest certificate; none while it goes on.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"policy {self.policy_version}, {self.begun_at:%Y-%m-%d %H:%M}"
