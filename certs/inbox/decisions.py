"""What waits for a decision: requests, lines of bulk orders, domains; and questions that wait for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils.http import urlencode

from certs.access.permissions import Permission
from certs.enums import RequestState as S
from certs.inbox.matters import Inbox, Kind, Matter, More
from certs.models import Approval, ApprovalQuestion, BulkOrder, CertificateRequest, DomainRequest, Team
from certs.notifications.wording import count_of
from certs.people.joining import waiting_for
from certs.requests.approvals.deciders import rights_over
from certs.requests.approvals.requesters import requesters_who_left
from certs.requests.domains.domain_requests import rights_to_decide


def open_requests(user: Any) -> QuerySet[CertificateRequest]:
    """Return the single requests that wait for an approval of this account: not its own, nor those that it has approved already."""
    given = Approval.objects.filter(request=OuterRef("pk"), approver=user, granted=True, digest=OuterRef("digest"))
    waiting = CertificateRequest.objects.filter(state=S.AWAITING_APPROVAL, bulk_item__isnull=True)
    return waiting.exclude(requester=user).exclude(Exists(given))


def requests_to_decide(user: Any, seen: Q, *, most: int) -> Inbox:
    """Return single requests and renewals that the account may decide, the oldest first.

    `seen`: the condition that a row is of a team that the account may see.
    """
    found = list(open_requests(user).filter(seen).select_related("team", "requester").order_by("pk")[: most + 1])
    rows = found[:most]
    left, rights = requesters_who_left(rows), rights_over(user, rows)
    matters = [_request(row, left.get(row.pk, "")) for row in rows if rights[row.pk].refusal is None]
    listed = f"{reverse('requests')}?{urlencode({'state': S.AWAITING_APPROVAL})}"
    return Inbox(tuple(matters), (More("All requests that wait for approval", listed),) if len(found) > most else ())


def _request(row: CertificateRequest, left: str) -> Matter:
    renewal = row.renewed_from_id is not None
    return Matter(
        Kind.APPROVAL,
        f"Approve or reject {'the renewal of ' if renewal else ''}{count_of(row.names) or row.public_id}",
        left or f"Requested by {row.requester or row.door} for {row.team.name}.",
        reverse("request", args=[row.public_id]),
        "Decide",
        row.state_changed_at,
    )


def open_orders(user: Any) -> QuerySet[BulkOrder]:
    """Return the bulk orders with lines that wait for an approval; not the account's own."""
    lines = CertificateRequest.objects.filter(bulk_item__order=OuterRef("pk"), state=S.AWAITING_APPROVAL)
    under_way = BulkOrder.objects.filter(state__in=(BulkOrder.State.RUNNING, BulkOrder.State.PAUSED))
    return under_way.exclude(requester=user).exclude(submitter=user).filter(Exists(lines))


def orders_to_decide(user: Any, seen: Q, *, most: int) -> Inbox:
    """Return bulk orders with lines that wait for an approval, each once; not the account's own."""
    rows = open_orders(user).filter(seen).select_related("team", "submitter").order_by("pk")[:most]
    return Inbox(
        tuple(
            Matter(
                Kind.ORDER,
                f"Approve or reject lines of {row.title}",
                f"Submitted by {row.submitter or row.actor_name} for {row.team.name}.",
                reverse("bulk-decide", args=[row.public_id]),
                "Decide",
                row.submitted_at,
            )
            for row in rows
        )
    )


def domains_to_decide(user: Any, seen: Q, *, most: int) -> Inbox:
    """Return requests for domains that the account may decide, the oldest first."""
    rows = list(DomainRequest.objects.waiting().filter(seen).select_related("team", "requester").order_by("requested_at")[:most])
    rights = rights_to_decide(user, rows)
    return Inbox(
        tuple(
            Matter(
                Kind.DOMAIN,
                f"Give {row.domain} to {row.team.name}?",
                f"Asked by {row.requester}: {row.why}",
                reverse("domain-request", args=[row.public_id]),
                "Decide",
                row.requested_at,
            )
            for row in rows
            if rights[row.pk].refusal is None
        )
    )


def open_questions(teams: Sequence[Team] | QuerySet[Team]) -> QuerySet[ApprovalQuestion]:
    """Return questions of approvers about requests of these teams that wait for an answer."""
    return ApprovalQuestion.objects.filter(answered_at__isnull=True, request__state=S.AWAITING_APPROVAL, request__team__in=teams)


def questions_to_answer(teams: Sequence[Team], *, most: int) -> Inbox:
    """Return questions of approvers about requests of these teams, the oldest first."""
    rows = open_questions(teams).select_related("request", "asker").order_by("pk")[:most]
    return Inbox(
        tuple(
            Matter(
                Kind.QUESTION,
                f"Answer {row.asker} about {count_of(row.request.names) or row.request.public_id}",
                f"{row.question} The request waits for it, and its time goes on.",
                reverse("request", args=[row.request.public_id]),
                "Answer",
                row.asked_at,
                is_urgent=True,
            )
            for row in rows
        )
    )


def people_to_take_in(user: Any, held: AbstractSet[Permission], *, most: int) -> Inbox:
    """Return requests to join a team that the account may answer, the oldest first."""
    rows = waiting_for(user, held)[:most]
    return Inbox(
        tuple(
            Matter(
                Kind.PERSON,
                f"Take {row.person.get_full_name() or row.person} into {row.team.name}?",
                row.why,
                f"{reverse('team-people', args=[row.team.slug])}#waiting-title",
                "Answer",
                row.asked_at,
            )
            for row in rows
        )
    )
