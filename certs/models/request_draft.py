"""Drafts of requests: what a person has filled in so far, at an address of its own."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from certs.models.people.team import Team

MAX_NAMES_TEXT = 30_000  # characters: PKI_MAX_NAMES names of 253, one a line, with room


class RequestDraft(models.Model):
    """A request for one certificate that is not submitted yet.

    The texts are as they were typed, free of secrets. `csr_*`: what the gate read from the CSR that
    the requester sent; `csr_der` is empty where the octets may not be kept. A draft that was
    submitted names its request and is not changed any more.
    """

    public_id = models.CharField(max_length=40, unique=True)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="request_drafts")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="request_drafts")
    place = models.CharField(max_length=16)
    server = models.CharField(max_length=16, blank=True)
    sentence = models.TextField(blank=True)
    names = models.TextField(blank=True)
    key = models.CharField(max_length=16, blank=True)
    profile = models.CharField(max_length=64, blank=True)
    validity = models.CharField(max_length=40, blank=True)
    why = models.CharField(max_length=500, blank=True)
    notes = models.JSONField(default=list)
    csr_facts = models.JSONField(null=True)
    csr_der = models.BinaryField(default=b"")
    csr_spki = models.BinaryField(default=b"")
    request = models.OneToOneField("certs.CertificateRequest", on_delete=models.PROTECT, null=True, related_name="draft")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.public_id

    @property
    def title(self) -> str:
        """The first name; for a CSR the first one in it."""
        return next(iter((*self.csr_names, *self.names.split())), self.public_id)

    @property
    def has_csr(self) -> bool:
        """Whether a CSR came that passed the gate."""
        return self.csr_facts is not None

    @property
    def csr_names(self) -> tuple[str, ...]:
        """The names in the CSR; none without one."""
        facts: dict[str, Any] = self.csr_facts or {}
        return (*facts.get("dns_names", ()), *facts.get("ip_addresses", ()))
