"""Names beneath a domain, found by the index of names with their labels turned round."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from certs.models import CertificateName


def reversed_labels(name: str) -> str:
    """Return `com.example.api` for `api.example.com`."""
    return ".".join(reversed(name.split(".")))


def names_beneath(domain: str) -> QuerySet[CertificateName]:
    """Return the names of certificates that are the domain or lie beneath it, of every state and team."""
    stem = reversed_labels(domain)
    return CertificateName.objects.filter(Q(reversed_labels=stem) | Q(reversed_labels__startswith=f"{stem}."), kind="dns")
