"""Compare the decisions of persons with their events."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.contrib.auth import get_user_model

from certs.models import Approval, ApprovalEvidence, CertificateRequest
from certs.reconciliation.records.comparison import Comparison, accounts_over_time, events_of, rows_named
from certs.reconciliation.records.explained import Logged
from certs.requests.approvals.confirmation import evidence_data

_GRANTED = ("request:approved", "request:endorsed")
_DECIDED = (*_GRANTED, "request:rejected")


def approvals(page: list[Approval], comparison: Comparison) -> None:
    """Add approvals and rejections that nobody gave, gave for another content, or gave at another time."""
    requests = rows_named(CertificateRequest, [row.request_id for row in page])
    names = accounts_over_time(rows_named(get_user_model(), [row.approver_id for row in page]).values())
    logged = events_of([one.subject for one in requests.values()], _DECIDED)
    first = _first_decisions(logged)
    there = Counter(
        Approval.objects.filter(request__in=requests).values_list("request", "digest", "granted"),
    )
    kept = ApprovalEvidence.objects.filter(approval__in=[row.pk for row in page])
    evidence = {one.approval_id: evidence_data(one)["evidence_sha256"] for one in kept}
    for row in page:
        comparison.compared["approvals"] += 1
        request = requests.get(row.request_id)
        if request is None:  # the comparison of links names it
            continue
        kinds = _GRANTED if row.granted else ("request:rejected",)
        same = [e for e in logged[request.subject] if e.event in kinds and e.data.get("digest") == row.digest and e.data.get("approver")]
        mine = [e for e in same if e.data["approver"] in names.get(row.approver_id, ())]
        if not mine or there[row.request_id, row.digest, row.granted] > len(same):
            name = min(names.get(row.approver_id, {"an unknown account"}))
            verb = "approved" if row.granted else "rejected"
            comparison.add("approval", request.public_id, f"no event says that {name} {verb} this content")
            continue
        timely = [e for e in mine if row.decided_at in _decided_at(e, row, first)]
        if not timely:
            comparison.add("approval", request.public_id, "it was decided at another time than the log says")
        elif not any(e.data.get("evidence_sha256") in (None, evidence.get(row.pk)) for e in timely):
            comparison.add("approval", request.public_id, "the evidence of its confirmation is not the one that was recorded")


def _first_decisions(logged: dict[str, list[Logged]]) -> dict[tuple[str, Any, int], set[Any]]:
    """Return by request, digest and approver when the approvals were decided that requests of the page inherit.

    An inherited approval keeps the time of the first decision; its row is compared on its own.
    """
    sources = {str(e.data["inherited_from"]) for events in logged.values() for e in events if e.data.get("inherited_from")}
    rows = Approval.objects.filter(request__public_id__in=sources, granted=True)
    found: dict[tuple[str, Any, int], set[Any]] = {}
    for public_id, digest, approver, at in rows.values_list("request__public_id", "digest", "approver", "decided_at"):
        found.setdefault((public_id, digest, approver), set()).add(at)
    return found


def _decided_at(event: Logged, row: Approval, first: dict[tuple[str, Any, int], set[Any]]) -> set[Any]:
    source = event.data.get("inherited_from")
    return {event.at} if source is None else first.get((str(source), row.digest, row.approver_id), set())
