"""Revocations: an intent that is kept until the CA has done it."""

from __future__ import annotations

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
        ]

    def __str__(self) -> str:
        return f"{self.certificate_id}: {self.reason}"
