"""What people were notified of about the end and the renewal of a certificate."""

from __future__ import annotations

from django.db import models


class ExpiryReminder(models.Model):
    """A recipient was reminded that a certificate ends, at one of the stages of `certs.renewal.reminders`.

    Each recipient is reminded once of each stage, however often the expiry check runs. A new owner has
    no row yet, and so learns of the present stage.
    """

    certificate = models.ForeignKey("certs.Certificate", on_delete=models.PROTECT, related_name="reminders", db_index=False)
    stage = models.SmallIntegerField(help_text="Days before the end; -1 after it.")
    recipient = models.CharField(max_length=254)
    told_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["certificate", "stage", "recipient"], name="reminder_once"),
        ]

    def __str__(self) -> str:
        return f"{self.certificate_id} at {self.stage} days to {self.recipient}"


class RenewalNotice(models.Model):
    """An obstacle to the renewal of a certificate, noted once for each cause.

    Written in the transaction that found it. `certs.renewal.expiry_mail` composes the mails at the
    end of the run.
    """

    class Kind(models.TextChoices):
        NEEDS_CSR = "csr", "needs a new CSR"
        REFUSED = "refused", "refused by the policy, or by the state of its CA"
        FAILED = "failed", "failed"
        APPROVAL = "approval", "waits for an approval"

    certificate = models.ForeignKey("certs.Certificate", on_delete=models.PROTECT, related_name="+", db_index=False)
    request = models.ForeignKey(
        "certs.CertificateRequest",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        help_text="The renewal that failed or waits.",
    )
    kind = models.CharField(max_length=8, choices=Kind)
    cause = models.CharField(max_length=64, help_text="The policy version, a digest of the error, or the request.")
    reason = models.TextField()
    advice = models.TextField()
    command = models.TextField(help_text="The OpenSSL command for a new CSR; empty where none is needed.")
    noted_at = models.DateTimeField()
    batch = models.UUIDField(null=True, help_text="The run that wrote the mails; none while they are not written.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["certificate", "kind", "cause"], name="renewal_notice_once"),
        ]
        indexes = [
            models.Index(fields=["batch"], name="renewal_notice_batch"),
        ]

    def __str__(self) -> str:
        return f"{self.certificate_id}: {self.kind}"
