"""A renewal of the same content inherits its approval, as long as that is younger than the policy allows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from certs.models import Approval, CertificateRequest


def approvals_for(digests: Collection[str], *, valid_days: int, needed: int, at: datetime) -> dict[str, list[Approval]]:
    """By digest: the approvals that still count, where enough persons gave one; each person's last, the latest first.

    The digest covers names, key type, validity, profile, CA, team and requester, so an approval never reaches another
    content. A rejection of the same content ends what was approved before it.
    """
    if not digests or not valid_days:
        return {}
    rows = Approval.objects.filter(digest__in=digests, decided_at__gt=at - timedelta(days=valid_days))
    found: dict[str, dict[int, Approval]] = {}
    for row in rows.select_related("request", "approver").order_by("decided_at", "pk"):
        if row.granted:
            found.setdefault(row.digest, {})[row.approver_id] = row
        else:
            found.pop(row.digest, None)
    latest_first = {digest: sorted(by.values(), key=lambda row: row.decided_at, reverse=True) for digest, by in found.items()}
    return {digest: grants[:needed] for digest, grants in latest_first.items() if len(grants) >= needed}


def inherit_approvals(requests: Sequence[CertificateRequest], *, valid_days: int, needed: int, at: datetime) -> dict[int, list[Approval]]:
    """Give renewals the approvals that they inherit; return these by request id. Needs the transaction that moves them on.

    A copy keeps the time of the first decision, so that an approval does not stay young by being inherited.
    """
    renewals = [request for request in requests if request.renewed_from_id is not None]
    found = approvals_for({request.digest for request in renewals}, valid_days=valid_days, needed=needed, at=at)
    inherited = {request.pk: found[request.digest] for request in renewals if request.digest in found}
    Approval.objects.bulk_create(
        [
            Approval(
                request_id=pk,
                approver=first.approver,
                digest=first.digest,
                granted=True,
                comment=f"Inherited from {first.request.public_id}.",
                decided_at=first.decided_at,
            )
            for pk, grants in inherited.items()
            for first in grants
        ]
    )
    return inherited
