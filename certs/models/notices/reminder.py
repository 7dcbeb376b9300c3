"""Which reminders of a certificate's end were written, to whom."""

from __future__ import annotations

from django.db import models


class ExpiryReminder(models.Model):
    """A recipient was reminded that a certificate ends, at one of the stages of `certs.renewal.reminders`.

    Each stage is told to each recipient once, however often the expiry check runs. A new owner has
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
