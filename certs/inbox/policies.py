"""What of the policy waits for a second officer: drafts that were replayed, and waivers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.urls import reverse

from certs.inbox.matters import Inbox, Kind, Matter
from certs.models import PolicyReplay
from policy.models import PolicyVersion, PolicyWaiver
from policy.texts.descriptions import label_of


def drafts_for(user: Any) -> QuerySet[PolicyVersion]:
    """Return the drafts that somebody else wrote and replayed: they are meant to be published."""
    replayed = PolicyReplay.objects.filter(state=PolicyReplay.State.DONE).values("version")
    drafts = PolicyVersion.objects.filter(policy__name=settings.PKI_DEFAULT_POLICY, state=PolicyVersion.State.DRAFT, pk__in=replayed)
    return drafts.exclude(authors=user).exclude(drafter=user)


def waivers_for(user: Any, *, now: datetime) -> QuerySet[PolicyWaiver]:
    """Return the waivers that somebody else requested and nobody decided yet."""
    rows = PolicyWaiver.objects.filter(approved_at__isnull=True, ended_at__isnull=True, ends__gt=now)
    return rows.exclude(requester=user)


def policies_to_decide(user: Any, *, most: int, now: datetime) -> Inbox:
    """Return drafts and waivers that the account may publish or approve, the oldest first."""
    drafts = drafts_for(user).order_by("drafted_at")[:most]
    waivers = waivers_for(user, now=now).select_related("requester").order_by("requested_at")[:most]
    return Inbox(
        (
            *(
                Matter(
                    Kind.POLICY,
                    f"Publish policy {row.version}?",
                    f"Drafted by {row.drafted_by}. {row.note}".strip(),
                    reverse("policy-publish", args=[row.pk]),
                    "Read it",
                    row.drafted_at,
                )
                for row in drafts
            ),
            *(
                Matter(
                    Kind.POLICY,
                    f"Approve waiver {row.reference}: {label_of(row.rule)}?",
                    f"Requested by {row.requester}: {row.reason}",
                    reverse("policy-waivers"),
                    "Decide",
                    row.requested_at,
                )
                for row in waivers
            ),
        )
    )
