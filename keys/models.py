"""The tables of keys: where each is and what became of it. No column holds an unencrypted private key."""

from __future__ import annotations

import uuid

from django.db import models


class Key(models.Model):
    """A claim on a name in a backend, and the key made under it. The row's id is the claim's id (CKA_ID in an HSM)."""

    class State(models.TextChoices):
        CLAIMED = "claimed", "claimed"
        ACTIVE = "active", "active"
        COMPROMISED = "compromised", "compromised"
        DESTROYING = "destroying", "being destroyed"
        DESTROYED = "destroyed", "destroyed"

    ENDED = (State.DESTROYING, State.DESTROYED)

    class Purpose(models.TextChoices):
        LEAF = "leaf", "leaf"
        CA = "ca", "issuing CA"
        ROOT = "root", "root CA"
        OCSP = "ocsp", "OCSP responder"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    backend = models.CharField(max_length=64)
    name = models.CharField(max_length=128)
    version = models.PositiveIntegerField(default=1)
    locator = models.CharField(max_length=200, blank=True)
    spec = models.CharField(max_length=16)
    purpose = models.CharField(max_length=8, choices=Purpose)
    state = models.CharField(max_length=12, choices=State, default=State.CLAIMED)
    claimed_for = models.CharField(
        max_length=80, unique=True, help_text="What it was claimed for; a second claim for the same gets the same row."
    )
    spki_sha256 = models.CharField(max_length=64, blank=True, db_index=True)
    spki_der = models.BinaryField(null=True)
    evidence = models.JSONField(default=dict, help_text="What the backend says of the key's origin.")
    claimed_at = models.DateTimeField()
    absent_seen_at = models.DateTimeField(null=True, blank=True, help_text="When the backend certainly had no key of that name.")
    made_at = models.DateTimeField(null=True, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)
    destruction = models.JSONField(
        default=dict, blank=True, help_text="Why it is destroyed, on whose word, and which certificates it served."
    )
    follows = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,  # rows are never deleted, and the keys that follow are not looked up
        help_text="The key that it takes the place of; above version 1, the version of the same name before it.",
    )

    class Meta:
        # A destroyed name stays claimed: Vault would start it at version 1 anew, so old references would mean another key.
        constraints = [models.UniqueConstraint(fields=["backend", "name", "version"], name="key_name_once")]

    def __str__(self) -> str:
        return self.locator or f"{self.backend}:{self.name}"


class KeyName(models.Model):
    """How far the numbers behind a base name have got in a backend: `api-example-com`, `api-example-com-2` and so on. Never goes back."""

    backend = models.CharField(max_length=64)
    base = models.CharField(max_length=128)
    last_number = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["backend", "base"], name="key_base_name_once")]

    def __str__(self) -> str:
        return f"{self.backend}:{self.base} {self.last_number}"


class PublicKey(models.Model):
    """One row for each public key that the portal has seen. It belongs to the first team that sent it; a blocked key
    is refused permanently.
    """

    spki_sha256 = models.CharField(max_length=64, primary_key=True)
    team = models.CharField(max_length=64)
    recorded_at = models.DateTimeField()
    blocked_at = models.DateTimeField(null=True, blank=True)
    blocked_reason = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.spki_sha256[:16]

    @property
    def is_blocked(self) -> bool:
        """Whether the key was reported as compromised, so that it is refused."""
        return self.blocked_at is not None


class LocalKeyMaterial(models.Model):
    """A private key of the `local` backend: AES-256-GCM ciphertext under a data key that is wrapped by a key outside the database."""

    backend = models.CharField(max_length=64)
    key_id = models.UUIDField(help_text="The claim's id; no foreign key, for the backend knows nothing of claims.")
    version = models.PositiveIntegerField(default=1)
    kek_id = models.CharField(max_length=16)
    wrapped_dek = models.BinaryField()
    nonce = models.BinaryField()
    ciphertext = models.BinaryField()
    public_key_der = models.BinaryField()
    created_at = models.DateTimeField()
    follows = models.UUIDField(null=True, help_text="The claim whose key this one is the next version of.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key_id", "version"], name="local_key_version_once"),
            models.UniqueConstraint(fields=["follows"], condition=models.Q(follows__isnull=False), name="local_key_followed_once"),
        ]

    def __str__(self) -> str:
        return f"ciphertext of {self.key_id}"
