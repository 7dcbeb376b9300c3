"""Revocations: an intent that is kept until the CA has done it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from certs.enums import RevocationReason


class Revocation(models.Model):
    """One for each certificate. From the moment it is written the portal treats the certificate as revoked.

    Whether it is revoked now says `Certificate.status`: a released hold keeps its row, with `released_at`.
    """

    certificate = models.OneToOneField("certs.Certificate", on_delete=models.PROTECT, primary_key=True, related_name="revocation")
    reason = models.CharField(max_length=24, choices=[(r.value, r.value) for r in RevocationReason])
    requested_at = models.DateTimeField(help_text="Our time: the revocationDate of CRL and OCSP.")
    requested_by = models.CharField(max_length=150)
    by_security_team = models.BooleanField(default=False, db_default=False, help_text="A hold that only an officer releases.")
    invalidity_date = models.DateTimeField(null=True, blank=True, help_text="Since when it should not be trusted, as the requester says.")
    confirmed_at = models.DateTimeField(null=True, blank=True, help_text="When the CA had done it.")
    first_crl_number = models.BigIntegerField(null=True, blank=True, help_text="The first published CRL that held it; own CAs only.")
    comment = models.CharField(max_length=500, blank=True, help_text="What the person who asked wrote; never sent to a CA.")
    release_requested_at = models.DateTimeField(null=True, blank=True)
    release_requested_by = models.CharField(max_length=150, blank=True)
    released_at = models.DateTimeField(null=True, blank=True, help_text="A hold that was taken back: the certificate is good again.")
    lease_until = models.DateTimeField(null=True, blank=True, help_text="A worker is telling the CA; no other does meanwhile.")
    tries = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["requested_at"],
                condition=models.Q(confirmed_at__isnull=True) | models.Q(release_requested_at__isnull=False, released_at__isnull=True),
                name="revocation_untold",
            ),
            models.Index(fields=["certificate"], condition=models.Q(first_crl_number__isnull=True), name="revocation_not_on_crl"),
            models.Index(fields=["requested_at"], name="revocation_requested"),
            # What is on hold: few of what is revoked.
            models.Index(
                fields=["certificate"],
                condition=models.Q(reason=RevocationReason.CERTIFICATE_HOLD.value, released_at__isnull=True),
                name="revocation_hold",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.certificate_id}: {self.reason}"


class PlannedRevocation(models.Model):
    """A certificate that is revoked as soon as its replacement is issued, or at a deadline.

    The row outlives every process, so the revocation happens whatever becomes of the replacement.
    One open plan for a certificate; an ended one stays as a record.
    """

    class Outcome(models.TextChoices):
        REVOKED = "revoked", "revoked"
        WITHDRAWN = "withdrawn", "withdrawn"

    certificate = models.ForeignKey("certs.Certificate", on_delete=models.PROTECT, related_name="planned_revocations")
    replacement = models.ForeignKey("certs.CertificateRequest", on_delete=models.PROTECT, related_name="planned_revocations")
    reason = models.CharField(max_length=24, choices=[(r.value, r.value) for r in RevocationReason])
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
    )
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    when_issued = models.BooleanField(help_text="Revoked once the replacement is issued; else at the deadline only.")
    deadline = models.DateTimeField(help_text="Revoked then, whatever became of the replacement.")
    spared = models.JSONField(default=list, help_text="Ids of certificates on the same key that are not revoked with it.")
    invalidity_date = models.DateTimeField(null=True, blank=True)
    comment = models.CharField(max_length=500, blank=True)
    proven = models.BooleanField(default=False, help_text="The requester signed a challenge with the key.")
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["certificate"],
                condition=models.Q(ended_at__isnull=True),
                name="planned_revocation_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.certificate_id}: {self.reason} by {self.deadline:%Y-%m-%d %H:%M} UTC"
