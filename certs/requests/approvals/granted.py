"""Whether a request has the approvals that it needs: asked before each step that would act on them, in this one place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from certs.access.permissions import Permission, holders_of
from certs.models import Approval, CertificateRequest
from certs.requests.approvals.confirmation import confirmed_approvals
from policy.persons import known_persons, one_person_is_enough
from policy.rules.approval_terms import ApprovalTerms


def approvers_needed(terms: ApprovalTerms) -> int:
    """Return how many persons must approve: one, where PKI_SINGLE_OFFICER lets one person decide alone."""
    return 1 if one_person_is_enough() else terms.approvers


def approved_requests(requests: Sequence[CertificateRequest], terms: Mapping[int, ApprovalTerms]) -> set[int]:
    """Return ids of the requests that enough persons approved for exactly the content that they have.

    `terms`: what an approval takes, by request id, under the policy in force; where they ask for a
    confirmation, only approvals count whose evidence holds now. One query, however many requests
    there are, and two more where a confirmation is asked for.
    """
    if not requests:
        return set()
    by_id = {request.pk: request for request in requests}
    rows = [row for row in Approval.objects.filter(request__in=by_id, granted=True) if by_id[row.request_id].digest == row.digest]
    # Verified again here, from the octets that were kept: whoever wrote the rows. Nothing is asked
    # where no policy wants it.
    confirmed = confirmed_approvals([row for row in rows if terms[row.request_id].confirmed])
    approvers: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        if not terms[row.request_id].confirmed or row.pk in confirmed:
            approvers[row.request_id].add(row.approver_id)
    return {pk for pk in by_id if len(approvers[pk]) >= approvers_needed(terms[pk])}


def grants_that_count(request: CertificateRequest, terms: ApprovalTerms) -> list[Approval]:
    """Return the approvals of the request's content that count towards the number that it needs.

    Of persons who may still approve, each person once, the first first; confirmed, where the terms ask for it.
    """
    rows = Approval.objects.filter(request=request, granted=True, digest=request.digest)
    holders = set(holders_of(Permission.DECIDE_REQUESTS).filter(pk__in=rows.values("approver")).values_list("pk", flat=True))
    found: list[Approval] = []
    grants = [row for row in rows.select_related("approver").order_by("pk") if row.approver_id in holders]
    if terms.confirmed:
        confirmed = confirmed_approvals(grants)
        grants = [row for row in grants if row.pk in confirmed]
    known = known_persons({row.approver_id for row in grants}) if grants else {}
    for row in grants:
        mine = known[row.approver_id]
        if not any(mine.may_be(known[other.approver_id]) for other in found):
            found.append(row)
    return found


def has_approved(user: object, grants: Sequence[Approval]) -> bool:
    """Whether the person behind the account has given one of the approvals."""
    pk = int(getattr(user, "pk", 0))
    known = known_persons({pk, *(row.approver_id for row in grants)})
    return any(known[pk].may_be(known[row.approver_id]) for row in grants)
