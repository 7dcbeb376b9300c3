"""CAs that wait for a second officer: tested, and not live yet."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from certs.inbox.matters import Inbox, Kind, Matter
from certs.models import CAAddition


def cas_to_take_live(user: Any) -> QuerySet[CAAddition]:
    """Return the CAs that somebody else began to add, and that passed their test."""
    return CAAddition.objects.filter(state=CAAddition.State.READY).exclude(began_by=user)


def cas_to_decide(user: Any, *, most: int) -> Inbox:
    """Return them as matters, the oldest first."""
    return Inbox(
        tuple(
            Matter(
                Kind.CA,
                f"Take the CA {row.name} live?",
                f"Added by {row.began_by_name}: its root was compared, and its test certificate was issued and revoked.",
                reverse("ca-addition", args=[row.public_id]),
                "Look at it",
                row.created_at,
            )
            for row in cas_to_take_live(user).order_by("pk")[:most]
        )
    )
