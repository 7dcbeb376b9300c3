"""The inventory: certificates, their bytes and the names by which people look for them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from certs.models.request import sees_everything
from keys.spec import KeyFacts


class CertificateQuerySet(models.QuerySet["Certificate"]):
    def visible_to(self, user: Any) -> CertificateQuerySet:
        """Own teams' certificates; all of them for the security team, auditors and superusers."""
        if sees_everything(user):
            return self
        return self.filter(team__members=user.pk) if user.is_authenticated else self.none()


class Certificate(models.Model):
    """A certificate that was verified before it was believed. Renewal makes a new row; this one is never overwritten."""

    class Status(models.TextChoices):
        GOOD = "good", "good"
        REVOCATION_PENDING = "revocation_pending", "revocation pending"
        REVOKED = "revoked", "revoked"

    cert_id = models.CharField(max_length=40, unique=True)
    request = models.OneToOneField("certs.CertificateRequest", on_delete=models.PROTECT, related_name="certificate")
    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="certificates")
    serial_number = models.CharField(max_length=40, help_text="Lower-case hex without leading zeros.")
    status = models.CharField(max_length=20, choices=Status, default=Status.GOOD)
    status_version = models.PositiveIntegerField(default=1)
    common_name = models.CharField(max_length=253, blank=True)
    team = models.ForeignKey("certs.Team", on_delete=models.PROTECT, related_name="certificates")
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    profile = models.CharField(max_length=64)
    policy_version = models.CharField(max_length=32)
    key = models.ForeignKey("keys.Key", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    key_type = models.CharField(max_length=16)
    spki_sha256 = models.CharField(max_length=64, db_index=True)
    sha256_fingerprint = models.CharField(max_length=64, unique=True)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField(db_index=True)
    alert_at = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField()
    renewed_from = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="renewals")
    chain = models.ForeignKey("certs.Chain", on_delete=models.PROTECT, related_name="+")

    objects = CertificateQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "serial_number"], name="certificate_serial_once")]
        indexes = [models.Index(fields=["team", "-id"], name="certificate_team_recent")]

    def __str__(self) -> str:
        return self.cert_id

    @property
    def key_label(self) -> str:
        """The key as people write it, such as ECDSA P-256."""
        return KeyFacts.from_name(self.key_type).label


class CertificateBody(models.Model):
    """The DER bytes, apart from the row that changes."""

    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, primary_key=True, related_name="body")
    der = models.BinaryField()


class CertificateName(models.Model):
    """One subject alternative name, for search by name and (label order turned round) by domain."""

    certificate = models.ForeignKey(Certificate, on_delete=models.PROTECT, related_name="names")
    kind = models.CharField(max_length=4, choices=[("dns", "dns"), ("ip", "ip")])
    name = models.CharField(max_length=253, db_index=True)
    reversed_labels = models.CharField(max_length=254, db_index=True, help_text="com.example.api for api.example.com.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["certificate", "kind", "name"], name="certificate_name_once")]
