"""What is published about certificates of own CAs: lists of the revoked, and the responders that sign answers."""

from __future__ import annotations

from django.db import models


class CRLPoint(models.Model):
    """Where a CRL is published: shard 0 is the complete CRL of an issuer, each further shard covers the certificates that name it.

    Numbers are taken here, under a row lock.
    """

    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="crl_points")
    shard = models.PositiveIntegerField(default=0)
    last_number = models.BigIntegerField(default=0, help_text="The highest number ever taken, published or not.")
    issued = models.PositiveIntegerField(default=0, help_text="How many certificates share this CRL, counted from the intents.")
    counted_to = models.BigIntegerField(default=0, help_text="The last intent that was counted.")
    published = models.ForeignKey("certs.CRL", on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "shard"], name="crl_point_once")]

    def __str__(self) -> str:
        return f"{self.issuer.name}, shard {self.shard}" if self.shard else self.issuer.name


class CRLSegment(models.Model):
    """The encoded entries of one range of rows. Kept from one CRL to the next for as long as nothing in the range changes."""

    class Source(models.TextChoices):
        CERTIFICATES = "certificates", "certificates"
        INTENTS = "intents", "intents without a certificate"

    point = models.ForeignKey(CRLPoint, on_delete=models.PROTECT, related_name="segments")
    source = models.CharField(max_length=12, choices=Source)
    number = models.BigIntegerField(help_text="The range: row ids divided by its size.")
    fingerprint = models.CharField(max_length=120, help_text="Of the rows it was encoded from.")
    count = models.PositiveIntegerField()
    length = models.PositiveIntegerField(help_text="Octets.")
    earliest_expiry = models.DateTimeField(null=True, help_text="After it an entry may leave, once it has been published past its expiry.")
    latest_revocation = models.DateTimeField(null=True, help_text="The newest revocationDate among its entries.")
    entries = models.BinaryField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["point", "source", "number"], name="crl_segment_range")]

    def __str__(self) -> str:
        return f"{self.source} {self.number}: {self.count} entries"


class CRL(models.Model):
    """One signed list. Its bytes are `head`, the segments' entries in order, and `tail`."""

    point = models.ForeignKey(CRLPoint, on_delete=models.PROTECT, related_name="crls")
    number = models.BigIntegerField()
    this_update = models.DateTimeField()
    next_update = models.DateTimeField()
    segments = models.JSONField(default=list, help_text="Ids of CRLSegment, in order.")
    count = models.PositiveIntegerField()
    length = models.BigIntegerField(help_text="Octets.")
    distribution_point = models.CharField(max_length=300, blank=True, help_text="The URL that its IDP names; empty for a complete list.")
    tbs_sha256 = models.CharField(max_length=64, help_text="Of what was signed.")
    head = models.BinaryField()
    tail = models.BinaryField()
    published_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["point", "number"], name="crl_number_once")]

    def __str__(self) -> str:
        return f"{self.point} number {self.number}"


class UnknownCertificate(models.Model):
    """A certificate that a CA has and nobody here asked for, as `reconcile_ca` found it. It stays until a person has settled it."""

    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="unknown_certificates")
    serial_number = models.CharField(max_length=64)
    der = models.BinaryField()
    subject = models.CharField(max_length=300, blank=True)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    found_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    settlement = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["issuer", "serial_number"], name="unknown_certificate_once")]

    def __str__(self) -> str:
        return f"{self.issuer.name} {self.serial_number}"


class ResponderCertificate(models.Model):
    """A delegated OCSP responder of an own CA (RFC 6960 4.2.2.2): a key of its own and a short-lived certificate."""

    issuer = models.ForeignKey("certs.Issuer", on_delete=models.PROTECT, related_name="responders")
    key = models.ForeignKey("keys.Key", on_delete=models.PROTECT, related_name="+")
    order_ref = models.CharField(max_length=80, unique=True, help_text="Of the intent under which it was signed.")
    serial_number = models.CharField(max_length=40)
    certificate_der = models.BinaryField()
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["issuer", "-not_after"], name="responder_newest")]

    def __str__(self) -> str:
        return self.order_ref
