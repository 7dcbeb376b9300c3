"""Compare the state tables with the audit log, both ways.

A state that no event explains was written behind the portal's back, for instance a certificate set
back to "good" by SQL, or an approval that nobody gave. An event whose state is missing means that a
row was removed. Reads page by page, each page in one snapshot of the database, so that work which
goes on in the meantime is no false alarm; memory stays flat whatever the number of rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from audit.batches import among_texts, text_list
from audit.changes import subject_of
from audit.models import AuditEvent
from audit.vendor import on_postgresql
from certs.models import (
    ApiToken,
    Approval,
    Certificate,
    CertificateRequest,
    Issuer,
    Revocation,
)
from certs.reconciliation.explained import (
    CERTIFICATE_EVENTS,
    REQUEST_EVENTS,
    RevocationState,
    Told,
    request_state,
    revocation_state,
)
from keys.models import PublicKey
from policy.models import PolicyVersion

PAGE = 1000
MOST = 100  # then it is plain, and the list stays readable


@dataclass(frozen=True, slots=True)
class Unexplained:
    """One state without its event, or one event without its state."""

    kind: str
    name: str
    problem: str


@dataclass(slots=True)
class Comparison:
    """What was compared, by kind, and the first problems."""

    compared: Counter[str] = field(default_factory=Counter)
    problems: list[Unexplained] = field(default_factory=list)
    total: int = 0

    def add(self, kind: str, name: str, problem: str) -> None:
        self.total += 1
        if len(self.problems) < MOST:
            self.problems.append(Unexplained(kind, name, problem))


@contextmanager
def one_moment() -> Iterator[None]:
    """Read everything within as of one moment (SQLite: nobody writes in the meantime)."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost and on_postgresql():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def pages(rows: QuerySet[Any], compare: Callable[[list[Any]], None]) -> None:
    """Give the rows to `compare` page by page, in the order of their keys."""
    last: Any = None
    while True:
        with one_moment():
            after = rows if last is None else rows.filter(pk__gt=last)
            page = list(after.order_by("pk")[:PAGE])
            if page:
                compare(page)
        if len(page) < PAGE:
            return
        last = page[-1].pk


def events_of(subjects: Iterable[str], types: Sequence[str]) -> dict[str, list[Told]]:
    """Return the events of these types by subject, each in their order."""
    wanted = sorted(set(subjects))
    found: dict[str, list[Told]] = {subject: [] for subject in wanted}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT subject, event, data FROM audit_event "  # noqa: S608 - constants
            f"WHERE {among_texts('subject')} AND {among_texts('event')} ORDER BY subject, subject_seq",
            [text_list(wanted), text_list(types)],
        )
        for subject, event, data in cursor.fetchall():
            found[subject].append(Told(event, json.loads(data)))
    return found


def compare_states(comparison: Comparison) -> None:
    """Add what is unexplained among requests, certificates, keys, tokens, issuers and policies."""
    requests = CertificateRequest.objects.select_related("certificate")
    pages(requests, lambda page: _requests(page, comparison))
    approvals = Approval.objects.select_related("request", "approver")
    pages(approvals, lambda page: _approvals(page, comparison))
    revocations = Revocation.objects.select_related("certificate")
    pages(revocations, lambda page: _revocations(page, comparison))
    blocked = PublicKey.objects.filter(blocked_at__isnull=False)
    pages(blocked, lambda page: _blocks(page, comparison))
    tokens = ApiToken.objects.select_related("user", "team")
    pages(tokens, lambda page: _tokens(page, comparison))
    pages(Issuer.objects.all(), lambda page: _issuers(page, comparison))
    versions = PolicyVersion.objects.published().select_related("policy")
    pages(versions, lambda page: _versions(page, comparison))


def _requests(page: list[CertificateRequest], comparison: Comparison) -> None:
    certificates = {row.pk: _certificate_of(row) for row in page}
    subjects = [row.subject for row in page]
    told = events_of(subjects, REQUEST_EVENTS)
    ids = [c.cert_id for c in certificates.values() if c is not None]
    later = events_of([f"certificate:{cert_id}" for cert_id in ids], CERTIFICATE_EVENTS)
    for row in page:
        comparison.compared["requests"] += 1
        events = told[row.subject]
        expected = request_state(events)
        if row.state != expected:
            comparison.add("request", row.public_id, _but("state", row.state, expected))
        _digest(row, events, comparison)
        certificate = certificates[row.pk]
        if certificate is not None:
            comparison.compared["certificates"] += 1
            _certificate(certificate, events, later, comparison)


def _certificate_of(row: CertificateRequest) -> Certificate | None:
    certificate: Certificate | None = getattr(row, "certificate", None)
    return certificate


def _digest(row: CertificateRequest, events: list[Told], comparison: Comparison) -> None:
    digests = {e.data.get("digest") for e in events if e.event == "request:submitted"}
    if digests and row.digest not in digests:
        problem = "its content is not what was submitted: the digest differs"
        comparison.add("request", row.public_id, problem)


def _but(what: str, stored: str, expected: str) -> str:
    return f"{what} is {stored or '(none)'}, but the log says {expected or '(no event)'}"


def _certificate(
    row: Certificate,
    of_request: list[Told],
    later: dict[str, list[Told]],
    comparison: Comparison,
) -> None:
    issued = [e.data for e in of_request if e.event == "certificate:issued" and e.data.get("cert_id") == row.cert_id]
    if not issued:
        comparison.add("certificate", row.cert_id, "no event says that it was issued")
        return
    for name, stored in (
        ("sha256_fingerprint", row.sha256_fingerprint),
        ("not_after", row.not_after.isoformat()),
        ("policy_version", row.policy_version),
    ):
        if issued[-1].get(name) != stored:
            told = str(issued[-1].get(name))
            comparison.add("certificate", row.cert_id, _but(name, stored, told))
    expected = _revocation_of(row.cert_id, of_request, later)
    if row.status != expected.status:
        comparison.add("certificate", row.cert_id, _but("status", row.status, expected.status))


def _revocation_of(cert_id: str, of_request: list[Told], later: dict[str, list[Told]]) -> RevocationState:
    """A certificate for a blocked key is revoked in the very phase that records it."""
    at_once = [e for e in of_request if e.event == "certificate:revocation_requested" and e.data.get("cert_id") == cert_id]
    return revocation_state([*at_once, *later[f"certificate:{cert_id}"]])


def _approvals(page: list[Approval], comparison: Comparison) -> None:
    told = events_of([row.request.subject for row in page], ("request:approved", "request:rejected"))
    for row in page:
        comparison.compared["approvals"] += 1
        event = "request:approved" if row.granted else "request:rejected"
        same = [e for e in told[row.request.subject] if e.event == event and e.data.get("digest") == row.digest]
        name = row.approver.get_username()
        if not any(e.data.get("approver") == name for e in same):
            verb = "approved" if row.granted else "rejected"
            problem = f"no event says that {name} {verb} this content"
            comparison.add("approval", row.request.public_id, problem)


def _revocations(page: list[Revocation], comparison: Comparison) -> None:
    later = events_of([f"certificate:{row.certificate.cert_id}" for row in page], CERTIFICATE_EVENTS)
    requests = CertificateRequest.objects.in_bulk([row.certificate.request_id for row in page])
    first = events_of([r.subject for r in requests.values()], REQUEST_EVENTS)
    for row in page:
        comparison.compared["revocations"] += 1
        cert_id = row.certificate.cert_id
        of_request = first[requests[row.certificate.request_id].subject]
        expected = _revocation_of(cert_id, of_request, later)
        found = RevocationState(
            row.certificate.status,
            row.reason,
            confirmed=row.confirmed_at is not None,
            released=row.released_at is not None,
        )
        if not expected.reason:
            comparison.add("revocation", cert_id, "no event says that it was requested")
        elif (found.reason, found.confirmed, found.released) != (
            expected.reason,
            expected.confirmed,
            expected.released,
        ):
            problem = _but("revocation", _shown(found), _shown(expected))
            comparison.add("revocation", cert_id, problem)


def _shown(state: RevocationState) -> str:
    done = "released" if state.released else "confirmed" if state.confirmed else "not confirmed"
    return f"{state.reason}, {done}"


BLOCKS = ("key:compromised", "key:unblocked")


def _blocks(page: list[PublicKey], comparison: Comparison) -> None:
    told = events_of([f"public_key:{row.pk}" for row in page], BLOCKS)
    for row in page:
        comparison.compared["blocked keys"] += 1
        events = told[f"public_key:{row.pk}"]
        if not events or events[-1].event != "key:compromised":
            comparison.add("key block", row.pk, "no event says that it was blocked")


def _tokens(page: list[ApiToken], comparison: Comparison) -> None:
    told = events_of([f"token:{row.pk}" for row in page], ("token:created", "token:changed", "token:revoked"))
    for row in page:
        comparison.compared["tokens"] += 1
        events, name = told[f"token:{row.pk}"], f"{row.name} ({row.prefix})"
        created = [e.data for e in events if e.event == "token:created"]
        if not created:
            comparison.add("token", name, "no event says that it was created")
            continue
        given = {"user": row.user.get_username(), "team": row.team.slug, "scopes": row.scopes}
        given |= {"prefix": row.prefix, "profiles": row.profiles}
        altered = {n for e in events if e.event == "token:changed" for n in e.data}
        for field_name, value in given.items():
            told_value = created[0].get(field_name, value)
            if told_value != value and field_name not in altered:
                comparison.add("token", name, _but(field_name, str(value), str(told_value)))
        revoked = any(e.event == "token:revoked" for e in events)
        if revoked != (row.revoked_at is not None) and "revoked_at" not in altered:
            now, then = ("revoked", "in force") if row.revoked_at else ("in force", "revoked")
            comparison.add("token", name, f"it is {now}, but the log says {then}")


def _issuers(page: list[Issuer], comparison: Comparison) -> None:
    """Use cases write `issuer:state_changed`, other channels `issuer:changed` of the row."""
    for row in page:
        comparison.compared["issuers"] += 1
        subjects = [f"issuer:{row.slug}", subject_of(row)]
        events = AuditEvent.objects.filter(subject__in=subjects).order_by("id")
        events = events.filter(event__in=("issuer:created", "issuer:state_changed", "issuer:changed"))
        expected = ""
        for event, data in events.values_list("event", "data"):
            if event == "issuer:created":
                expected = Issuer.State.ACTIVE.value
            elif event == "issuer:state_changed":
                expected = str(data.get("to"))
            elif "state" in data:
                expected = str(data["state"][1])
        if not expected:
            comparison.add("issuer", row.name, "no event says that it was created")
        elif row.state != expected:
            comparison.add("issuer", row.name, _but("state", row.state, expected))


def _versions(page: list[PolicyVersion], comparison: Comparison) -> None:
    told = events_of([f"policy:{row.policy.name}" for row in page], ("policy:published",))
    for row in page:
        comparison.compared["policy versions"] += 1
        published = [
            e.data
            for e in told[f"policy:{row.policy.name}"]
            if e.data.get("version") == row.version and e.data.get("digest_sha256") == row.digest
        ]
        if not published:
            comparison.add("policy version", str(row), "no event says that it was published")
