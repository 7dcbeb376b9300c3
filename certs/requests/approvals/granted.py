"""Whether a request has the approvals that it needs: the one check, before each step that acts on them."""

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
    # Verified again, from the stored octets, because SQL could have written the rows. Nothing is read
    # where no policy wants it.
    confirmed = confirmed_approvals([row for row in rows if terms[row.request_id].confirmed])
    approvers: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        if not terms[row.request_id].confirmed or row.pk in confirmed:
            approvers[row.request_id].add(row.approver_id)
    return {pk for pk in by_id if len(approvers[pk]) >= approvers_needed(terms[pk])}


def grants_that_count(request: CertificateRequest, terms: ApprovalTerms) -> list[Approval]:
    """Return the approvals of the request's content that count towards the number that it needs; see `grants_of`."""
    return grants_of([request], terms)[request.pk]


def grants_of(requests: Sequence[CertificateRequest], terms: ApprovalTerms) -> dict[int, list[Approval]]:
    """Return by request the approvals of its content that count towards the number that it needs.

    Of persons who may still approve, each person once, the first first; confirmed, where the terms
    ask for it. A fixed number of queries.
    """
    by_id = {request.pk: request for request in requests}
    found: dict[int, list[Approval]] = {pk: [] for pk in by_id}
    rows = Approval.objects.filter(request__in=by_id, granted=True).select_related("approver").order_by("pk")
    grants = [row for row in rows if row.digest == by_id[row.request_id].digest]
    if not grants:
        return found
    approvers = {row.approver_id for row in grants}
    holders = set(holders_of(Permission.DECIDE_REQUESTS).filter(pk__in=approvers).values_list("pk", flat=True))
    grants = [row for row in grants if row.approver_id in holders]
    if terms.confirmed:
        confirmed = confirmed_approvals(grants)
        grants = [row for row in grants if row.pk in confirmed]
    known = known_persons({row.approver_id for row in grants}) if grants else {}
    for row in grants:
        mine, others = known[row.approver_id], found[row.request_id]
        if not any(mine.may_be(known[other.approver_id]) for other in others):
            others.append(row)
    return found


def has_approved(user: object, grants: Sequence[Approval]) -> bool:
    """Return whether the person behind the account has given one of the approvals."""
    return bool(approved_by(user, {0: grants}))


def approved_by(user: object, grants: Mapping[int, Sequence[Approval]]) -> set[int]:
    """Return the keys of `grants` with an approval by the person behind the account. Two queries at most."""
    approvers = {row.approver_id for rows in grants.values() for row in rows}
    if not approvers:
        return set()
    pk = int(getattr(user, "pk", 0))
    known = known_persons({pk, *approvers})
    return {key for key, rows in grants.items() if any(known[pk].may_be(known[row.approver_id]) for row in rows)}
