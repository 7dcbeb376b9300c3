"""The owner of a certificate: the person who is responsible for it now.

An owner counts while the account is active and belongs to the certificate's team. The
certificates of a person who left are without owner from that moment on; the row keeps the name.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, Q, QuerySet

from certs.access.membership import is_member
from certs.models import Certificate, Team

NOBODY = "none"  # as filters and files write it; no account may be called so


def current_owner(certificate: Certificate) -> Any:
    """Return the owner's account; None where there is none, or it left."""
    owner = certificate.owner
    return owner if owner is not None and is_member(owner, certificate.team) else None


def has_owner() -> Q:
    """Return the condition on certificates that have an owner: the same rule for the database."""
    return Q(_owned_by_superuser()) | Q(_owned_by_member())


def without_owner(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """Return the certificates among `rows` that have no owner.

    Two conditions, for their alternative the planner tries row by row. Administrators are few: by
    their ids, so that one join is left, which it does by a hash.
    """
    administrators = list(_administrators().values_list("pk", flat=True))
    return rows.exclude(owner__in=administrators).exclude(_owned_by_member())


def _administrators() -> QuerySet[Any]:
    return get_user_model().objects.filter(is_active=True, is_superuser=True)


def _owned_by_superuser() -> Exists:
    return Exists(_administrators().filter(pk=OuterRef("owner_id")))


def _owned_by_member() -> Exists:
    members = Team.members.through.objects.filter(user__is_active=True)
    return Exists(members.filter(team_id=OuterRef("team_id"), user_id=OuterRef("owner_id")))
