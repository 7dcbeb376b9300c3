"""Approvals that were confirmed with a second factor: the challenge that waits, and the evidence that is kept."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class ApprovalChallenge(models.Model):
    """The nonce that an approver's passkey signs next, for one content of one request. Used once, and short-lived."""

    request = models.ForeignKey("certs.CertificateRequest", on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64)
    nonce = models.BinaryField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["request", "user"], name="approval_challenge_one_a_person")]

    def __str__(self) -> str:
        return f"{self.request_id} for {self.user_id}"


class ApprovalOfLines(models.Model):
    """Lines of one bulk order that an approver confirms together, by one digest over all of theirs.

    Made when the passkey is asked, or with the decision where a code confirms it. `digests` are kept
    so that anybody can see which requests the signature covers: the digest is a hash over them.
    """

    order = models.ForeignKey("certs.BulkOrder", on_delete=models.PROTECT, related_name="+")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    digests = models.JSONField()
    digest = models.CharField(max_length=64)
    nonce = models.BinaryField(default=b"")
    expires_at = models.DateTimeField(null=True, db_index=True, help_text="Of a question to a passkey; none once it is decided.")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["order", "approver"],
                condition=models.Q(expires_at__isnull=False),
                name="approval_of_lines_one_a_person",
            )
        ]

    def __str__(self) -> str:
        return f"{len(self.digests)} lines of order {self.order_id} by {self.approver_id}"


class ApprovalEvidence(models.Model):
    """With what an approver confirmed an approval. Of a passkey all that is needed to verify its signature again."""

    class Factor(models.TextChoices):
        PASSKEY = "passkey", "passkey"
        CODE = "code", "one-time code"

    approval = models.OneToOneField("certs.Approval", on_delete=models.PROTECT, primary_key=True, related_name="evidence")
    factor = models.CharField(max_length=8, choices=Factor)
    authenticator_id = models.BigIntegerField(help_text="The second factor of the account; it may be removed later.")
    confirmed_at = models.DateTimeField()
    nonce = models.BinaryField(default=b"")
    credential_id = models.BinaryField(default=b"")
    authenticator_data = models.BinaryField(default=b"")
    client_data = models.BinaryField(default=b"")
    signature = models.BinaryField(default=b"")
    lines = models.ForeignKey(
        ApprovalOfLines,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The lines that were confirmed together with this one.",
    )

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.approval_id} by {self.factor}"
