"""Events whose state is missing: the log says that a row was made, and the row is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from audit.models import AuditEvent
from certs.models import ApiToken, Approval, BulkOrder, Certificate, CertificateRequest, Issuer, Revocation
from certs.reconciliation.records.comparison import Comparison, events_of
from certs.reconciliation.records.key_rows import BLOCKS
from db.sql import one_moment
from keys.models import PublicKey
from policy.models import PolicyVersion

PAGE = 2000


class Row(NamedTuple):
    """One event of the log."""

    id: int
    event: str
    subject: str
    data: Mapping[str, Any]


def compare_events(comparison: Comparison) -> None:
    """Add every event whose row is missing."""
    after = 0
    while True:
        with one_moment():
            page = _page(after)
            for event, check in CHECKS.items():
                mine = [row for row in page if row.event == event]
                comparison.compared["events"] += len(mine)
                for row, kind, name in check(mine) if mine else ():
                    problem = f"event {row.id} says {row.event}, but the row is missing"
                    comparison.add(kind, name, problem)
        if len(page) < PAGE:
            return
        after = page[-1].id


def _page(after: int) -> list[Row]:
    rows = AuditEvent.objects.filter(id__gt=after, event__in=list(CHECKS)).order_by("id")[:PAGE]
    return [
        Row(event_id, event, subject, {name: _plain(value) for name, value in data.items()} if isinstance(data, dict) else {})
        for event_id, event, subject, data in rows.values_list("id", "event", "subject", "data")
    ]


def _plain(value: Any) -> Any:
    """Return the value to look up. A list or an object in these fields is a forgery, which no row has."""
    return str(value) if isinstance(value, list | dict) else value


Missing = Iterable[tuple[Row, str, str]]


def _tail(subject: str) -> str:
    return subject.partition(":")[2]


def _requests(rows: list[Row]) -> Missing:
    ids = [_tail(row.subject) for row in rows]
    there = set(CertificateRequest.objects.filter(public_id__in=ids).values_list("public_id", flat=True))
    return [(r, "request", _tail(r.subject)) for r in rows if _tail(r.subject) not in there]


def _certificates(rows: list[Row]) -> Missing:
    ids = [row.data.get("cert_id") for row in rows]
    there = set(Certificate.objects.filter(cert_id__in=ids).values_list("cert_id", flat=True))
    return [(row, "certificate", str(row.data.get("cert_id"))) for row in rows if row.data.get("cert_id") not in there]


def _revocations(rows: list[Row]) -> Missing:
    ids = [row.data.get("cert_id") for row in rows]
    known = Revocation.objects.filter(certificate__cert_id__in=ids)
    there = set(known.values_list("certificate__cert_id", flat=True))
    return [(row, "revocation", str(row.data.get("cert_id"))) for row in rows if row.data.get("cert_id") not in there]


def _approvals(rows: list[Row]) -> Iterator[tuple[Row, str, str]]:
    """Yield approvals without their row. A rejection by the policy has no approver and no row."""
    by_person = [row for row in rows if "approver" in row.data]
    ids = [_tail(row.subject) for row in by_person]
    known = Approval.objects.filter(request__public_id__in=ids)
    there = set(known.values_list("request__public_id", "digest", "granted"))
    for row in by_person:
        granted = row.event != "request:rejected"
        if (_tail(row.subject), row.data.get("digest"), granted) not in there:
            yield row, "approval", _tail(row.subject)


def _blocks(rows: list[Row]) -> Iterator[tuple[Row, str, str]]:
    keys = {_tail(row.subject) for row in rows}
    blocked = set(PublicKey.objects.filter(pk__in=keys, blocked_at__isnull=False).values_list("pk", flat=True))
    last = events_of([row.subject for row in rows], BLOCKS)
    for row in rows:
        if _tail(row.subject) not in blocked and last[row.subject][-1].event == "key:compromised":
            yield row, "key block", _tail(row.subject)


def _tokens(rows: list[Row]) -> Missing:
    ids = [_tail(row.subject) for row in rows if _tail(row.subject).isdecimal()]
    there = {str(pk) for pk in ApiToken.objects.filter(pk__in=ids).values_list("pk", flat=True)}
    return [(r, "token", str(r.data.get("name"))) for r in rows if _tail(r.subject) not in there]


def _orders(rows: list[Row]) -> Missing:
    ids = [_tail(row.subject) for row in rows]
    there = set(BulkOrder.objects.filter(public_id__in=ids).values_list("public_id", flat=True))
    return [(r, "bulk order", _tail(r.subject)) for r in rows if _tail(r.subject) not in there]


def _issuers(rows: list[Row]) -> Missing:
    slugs = [_tail(row.subject) for row in rows]
    there = set(Issuer.objects.filter(slug__in=slugs).values_list("slug", flat=True))
    return [(r, "issuer", _tail(r.subject)) for r in rows if _tail(r.subject) not in there]


def _versions(rows: list[Row]) -> Missing:
    published = PolicyVersion.objects.published()
    there = set(published.values_list("policy__name", "version", "digest"))
    return [
        (row, "policy version", f"{_tail(row.subject)} {row.data.get('version')}")
        for row in rows
        if (_tail(row.subject), row.data.get("version"), row.data.get("digest_sha256")) not in there
    ]


CHECKS: dict[str, Callable[[list[Row]], Missing]] = {
    "request:submitted": _requests,
    "certificate:issued": _certificates,
    "certificate:revocation_requested": _revocations,
    "request:approved": _approvals,
    "request:endorsed": _approvals,
    "request:rejected": _approvals,
    "bulk:submitted": _orders,
    "key:compromised": _blocks,
    "token:created": _tokens,
    "issuer:created": _issuers,
    "policy:published": _versions,
}
