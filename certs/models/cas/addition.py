"""Adding a CA: each step is on record, so that one that breaks off is found again, and none is half made."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class CAAddition(models.Model):
    """One CA on its way in. It becomes an `Issuer` with the last step; until then nobody can request a certificate from it.

    `credential` names a file in PKI_CA_CREDENTIALS where the CA's workers run. The secret itself is
    in no row, message or page.
    """

    class Kind(models.TextChoices):
        CONFIGURED = "configured", "a CA of the settings (CA_CLIENTS)"
        REST = "rest", "a CA over REST"
        VAULT_PKI = "vault_pki", "Vault or OpenBao, PKI engine"

    class State(models.TextChoices):
        CONNECTING = "connecting", "connect"
        COMPARING = "comparing", "compare the root"
        TESTING = "testing", "test"
        READY = "ready", "go live"
        LIVE = "live", "live"
        GIVEN_UP = "given_up", "given up"

    OPEN = (State.CONNECTING, State.COMPARING, State.TESTING, State.READY)

    public_id = models.CharField(max_length=40, unique=True)
    kind = models.CharField(max_length=12, choices=Kind)
    name = models.CharField(max_length=64, help_text="Its name here, and its alias.")
    address = models.CharField(max_length=200, blank=True)
    credential = models.CharField(max_length=64, blank=True, help_text="Name of a file; never the secret.")
    mount = models.CharField(max_length=64, blank=True)
    role = models.CharField(max_length=64, blank=True)
    test_name = models.CharField(max_length=253, help_text="The name in the test certificate.")
    state = models.CharField(max_length=12, choices=State, default=State.CONNECTING)
    began_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    began_by_name = models.CharField(max_length=150)
    created_at = models.DateTimeField()
    working_until = models.DateTimeField(null=True, blank=True, help_text="Until then a worker is at it.")
    problem = models.CharField(max_length=500, blank=True, help_text="Why the last try of the step failed.")
    chain = models.TextField(blank=True, help_text="PEM, as the CA sent it: issuing CA first.")
    wrong_fingerprints = models.PositiveSmallIntegerField(default=0)
    csr_der = models.BinaryField(default=b"", help_text="Of the test; its key was never kept.")
    test_der = models.BinaryField(default=b"", help_text="The test certificate.")
    test_settled_at = models.DateTimeField(
        null=True, blank=True, help_text="When the test certificate was revoked, or was known not to exist."
    )
    test_steps = models.JSONField(default=list, help_text="What the test has done, as sentences.")
    issuer = models.OneToOneField("certs.Issuer", on_delete=models.PROTECT, null=True, blank=True, related_name="addition")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=~models.Q(state="given_up"), name="ca_addition_name_once"),
        ]

    def __str__(self) -> str:
        return self.public_id
