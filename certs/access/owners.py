"""The owner of a certificate: the person who is responsible for it now.

An owner counts while the account is active and belongs to the certificate's team. The
certificates of a person who left are without owner from that moment on; the row keeps the name.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, Q

from certs.access.membership import is_member
from certs.models import Certificate, Team

NOBODY = "none"  # as filters and files write it; no account may be called so


def current_owner(certificate: Certificate) -> Any:
    """Return the owner's account; None where there is none, or it left."""
    owner = certificate.owner
    return owner if owner is not None and is_member(owner, certificate.team) else None


def has_owner() -> Exists:
    """Return the condition on certificates that have an owner: the same rule for the database."""
    member = Team.members.through.objects.filter(team_id=OuterRef(OuterRef("team_id")), user_id=OuterRef("pk"))
    accounts = get_user_model().objects.filter(pk=OuterRef("owner_id"), is_active=True)
    return Exists(accounts.filter(Q(is_superuser=True) | Exists(member)))
