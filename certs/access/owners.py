"""The owner of a certificate: the person who is responsible for it now.

An owner counts while the account is active and belongs to the certificate's team. The
certificates of a person who left are without owner from that moment on; the row keeps the name.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Cast

from certs.access.permissions import is_member
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

    Team and owner as one number, which is looked for in a hash of all members: of joins on two
    columns the planner makes a sort of all certificates. Administrators are few: by their ids.
    """
    administrators = list(_administrators().values_list("pk", flat=True))
    members: Any = Team.members.through.objects.filter(user__is_active=True)  # types know no `pair`
    present = members.annotate(pair=_pair("team", "user")).values("pair")
    rows = rows.exclude(owner__in=administrators).alias(pair=_pair("team", "owner"))
    return rows.filter(Q(owner__isnull=True) | ~Q(pair__in=present))


def _pair(team: str, account: str) -> CombinedExpression:
    whole = BigIntegerField()
    return Cast(F(team), whole) * Value(2**32, output_field=whole) + Cast(F(account), whole)


def _administrators() -> QuerySet[Any]:
    return get_user_model().objects.filter(is_active=True, is_superuser=True)


def _owned_by_superuser() -> Exists:
    return Exists(_administrators().filter(pk=OuterRef("owner_id")))


def _owned_by_member() -> Exists:
    members: Any = Team.members.through.objects.filter(user__is_active=True)  # types know no `pair`
    return Exists(members.filter(team_id=OuterRef("team_id"), user_id=OuterRef("owner_id")))
