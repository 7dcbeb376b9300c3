"""Issuers: the CAs that certificates come from, and the own CA's ledger of what it was about to sign."""

from __future__ import annotations

from django.db import models


class Issuer(models.Model):
    """A CA as the portal knows it. `alias` picks the client in settings.CA_CLIENTS; an own CA also has its certificate and key here."""

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        REVOCATION_ONLY = "revocation_only", "revocation only"
        DISTRUSTED = "distrusted", "distrusted"

    name = models.CharField(max_length=64, unique=True)
    slug = models.SlugField(max_length=64, unique=True)
    alias = models.CharField(
        max_length=64, blank=True, help_text="Client in settings.CA_CLIENTS; empty for a root that only signs issuing CAs."
    )
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    key = models.ForeignKey("keys.Key", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    certificate_der = models.BinaryField(null=True, help_text="An own CA's certificate; empty for a CA elsewhere.")
    trust_anchor_der = models.BinaryField(
        null=True, help_text="The root that every chain from this CA must end in, pinned when it was added."
    )
    created_at = models.DateTimeField()
    successor = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="predecessor", help_text="The CA that took over from it."
    )
    crl_shard = models.PositiveIntegerField(default=0, help_text="The CRL that certificates issued now are on.")
    # The circuit breaker: while it is open nothing is sent to this CA.
    circuit_opened_at = models.DateTimeField(null=True, blank=True)
    circuit_reason = models.CharField(max_length=300, blank=True)

    sweep_lease_until = models.DateTimeField(null=True, blank=True, help_text="Until then one worker clears up at this CA.")

    def __str__(self) -> str:
        return self.name


class IssuerFigure(models.Model):
    """How many valid certificates a CA had when they were last counted, and when it last issued one."""

    issuer = models.OneToOneField(Issuer, on_delete=models.CASCADE, primary_key=True, related_name="figure")
    valid = models.PositiveBigIntegerField()
    last_issued_at = models.DateTimeField(null=True)
    counted_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.issuer}: {self.valid}"


class IssuanceIntent(models.Model):
    """What an own CA is about to sign, written before it signs: only these TBS bytes ever are."""

    class State(models.TextChoices):
        INTENDED = "intended", "intended"
        SIGNED = "signed", "signed"
        ABANDONED = "abandoned", "abandoned"

    issuer = models.ForeignKey(Issuer, on_delete=models.PROTECT, related_name="intents", db_index=False)
    order_ref = models.CharField(max_length=80)
    serial_number = models.CharField(max_length=40, help_text="Lower-case hex without leading zeros.")
    state = models.CharField(max_length=10, choices=State, default=State.INTENDED)
    profile = models.CharField(max_length=64)
    policy_version = models.CharField(max_length=32)
    spki_sha256 = models.CharField(max_length=64)
    tbs = models.BinaryField()
    signature_algorithm = models.BinaryField()
    certificate_der = models.BinaryField(null=True)  # only where neither the inventory nor the quarantine keeps it
    created_at = models.DateTimeField()
    signed_at = models.DateTimeField(null=True, blank=True)
    crl_shard = models.PositiveIntegerField(default=0, db_default=0)
    not_after = models.DateTimeField(null=True, help_text="Its certificate's; empty in old rows, which stay on the CRL for ever.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revocation_reason = models.CharField(max_length=24, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["issuer", "order_ref"], condition=~models.Q(state="abandoned"), name="intent_order_once"),
            models.UniqueConstraint(fields=["issuer", "serial_number"], name="intent_serial_once"),
        ]
        indexes = [
            models.Index(
                fields=["issuer", "crl_shard", "id"],
                condition=models.Q(state="abandoned") | models.Q(revoked_at__isnull=False),
                name="intent_on_crl",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order_ref} ({self.state})"


class Chain(models.Model):
    """Issuing CA first, root last. Shared by every certificate that came with it, so a roll-over leaves old chains provable."""

    sha256 = models.CharField(max_length=64, unique=True)
    issuer = models.ForeignKey(Issuer, on_delete=models.PROTECT, related_name="chains")
    pem = models.TextField()

    def __str__(self) -> str:
        return self.sha256[:16]
