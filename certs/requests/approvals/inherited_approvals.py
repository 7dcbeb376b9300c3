"""A renewal of the same content inherits its approval, as long as that is younger than the policy allows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from certs.models import Approval, ApprovalEvidence, CertificateRequest
from certs.requests.approvals.confirmation import confirmed_approvals, copy_of
from certs.requests.approvals.granted import approvers_needed
from policy.rules.approval_terms import ApprovalTerms


def approvals_for(digests: Collection[str], *, valid_days: int, terms: ApprovalTerms, at: datetime) -> dict[str, list[Approval]]:
    """Return by digest the approvals that still count, where enough persons gave one under the terms in force.

    Each person's last, the latest first.

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
    if terms.confirmed:
        holding = confirmed_approvals([row for by in found.values() for row in by.values()])
        found = {digest: {pk: row for pk, row in by.items() if row.pk in holding} for digest, by in found.items()}
    needed = approvers_needed(terms)
    latest_first = {digest: sorted(by.values(), key=lambda row: row.decided_at, reverse=True) for digest, by in found.items()}
    return {digest: grants[:needed] for digest, grants in latest_first.items() if len(grants) >= needed}


def inherit_approvals(
    requests: Sequence[CertificateRequest],
    *,
    valid_days: int,
    terms: ApprovalTerms,
    at: datetime,
) -> dict[int, list[Approval]]:
    """Give renewals the approvals that they inherit; return these by request id. Needs the transaction that moves them on.

    A copy keeps the time of the first decision, so that an approval does not stay young by being inherited.
    """
    renewals = [request for request in requests if request.renewed_from_id is not None]
    found = approvals_for({request.digest for request in renewals}, valid_days=valid_days, terms=terms, at=at)
    inherited = {request.pk: found[request.digest] for request in renewals if request.digest in found}
    copies = [
        (
            first,
            Approval(
                request_id=pk,
                approver=first.approver,
                digest=first.digest,
                granted=True,
                comment=f"Inherited from {first.request.public_id}.",
                decided_at=first.decided_at,
            ),
        )
        for pk, grants in inherited.items()
        for first in grants
    ]
    Approval.objects.bulk_create([copy for _, copy in copies])
    evidence = ApprovalEvidence.objects.in_bulk([first.pk for first, _ in copies]) if copies else {}
    ApprovalEvidence.objects.bulk_create([copy_of(evidence[first.pk], copy) for first, copy in copies if first.pk in evidence])
    return inherited
