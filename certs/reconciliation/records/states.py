"""Compare the state tables with the audit log, both ways.

A state that no event explains was written behind the portal's back, for instance a certificate set
back to "good" by SQL, or an approval that nobody gave. An event whose state is missing means that a
row was removed. Reads page by page, each page in one snapshot of the database, so that work which
goes on in the meantime is no false alarm; memory stays flat whatever the number of rows.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from certs.models import Approval, BulkOrder, Certificate, CertificateBody, CertificateName, CertificateRequest, Revocation
from certs.reconciliation.records.certificates import compare_content, compare_description
from certs.reconciliation.records.comparison import Comparison, accounts_over_time, events_of, pages, rows_named
from certs.reconciliation.records.decisions import approvals
from certs.reconciliation.records.explained import (
    CERTIFICATE_EVENTS,
    REQUEST_EVENTS,
    Logged,
    RevocationState,
    request_state,
    revocation_state,
)
from certs.reconciliation.records.granted import compare_granted
from certs.reconciliation.records.key_rows import compare_keys
from certs.reconciliation.records.orders import orders
from certs.reconciliation.records.submitted import Known, compare_submitted


def compare_states(comparison: Comparison) -> None:
    """Add what is unexplained among requests, certificates, keys, tokens, issuers and policies."""
    pages(CertificateRequest.objects.all(), lambda page: _requests(page, comparison))
    pages(Approval.objects.all(), lambda page: approvals(page, comparison))
    pages(Revocation.objects.all(), lambda page: _revocations(page, comparison))
    pages(BulkOrder.objects.filter(submitted_at__isnull=False), lambda page: orders(page, comparison))
    compare_keys(comparison)
    compare_granted(comparison)


def _requests(page: list[CertificateRequest], comparison: Comparison) -> None:
    found = Certificate.objects.filter(request__in=[row.pk for row in page])
    certificates = {certificate.request_id: certificate for certificate in found}
    keys = [certificate.pk for certificate in certificates.values()]
    bodies = rows_named(CertificateBody, keys)
    names: dict[int, set[str]] = {key: set() for key in keys}
    for certificate_id, name in CertificateName.objects.filter(certificate__in=keys).values_list("certificate", "name"):
        names[certificate_id].add(name)
    logged = events_of([row.subject for row in page], REQUEST_EVENTS)
    known = Known.of(page)
    described = [*certificates.values(), *known.renewed.values()]
    later = events_of([f"certificate:{one.cert_id}" for one in described], CERTIFICATE_EVENTS)
    owners = rows_named(get_user_model(), [one.owner_id for one in described])
    accounts = accounts_over_time(owners.values())
    for row in page:
        comparison.compared["requests"] += 1
        events = logged[row.subject]
        comparison.expect("request", row.public_id, "state", stored=row.state, logged=request_state(events))
        compare_submitted(row, events, known, comparison)
        certificate = certificates.get(row.pk)
        if certificate is None:
            continue
        comparison.compared["certificates"] += 1
        _certificate(certificate, events, later, comparison)
        body = bodies.get(certificate.pk)
        der = bytes(body.der) if body is not None else None
        compare_content(certificate, row, der, names[certificate.pk], comparison)
        issued = _issued_event(certificate, events)
        if issued is None:  # named above
            continue
        old = known.renewed.get(certificate.renewed_from_id)
        compare_description(
            certificate,
            later[f"certificate:{certificate.cert_id}"],
            issued,
            (old, later[f"certificate:{old.cert_id}"]) if old is not None else None,
            accounts,
            comparison,
        )


def _issued_event(row: Certificate, of_request: list[Logged]) -> Logged | None:
    found = [e for e in of_request if e.event == "certificate:issued" and e.data.get("cert_id") == row.cert_id]
    return found[-1] if found else None


def _certificate(row: Certificate, of_request: list[Logged], later: dict[str, list[Logged]], comparison: Comparison) -> None:
    issued = _issued_event(row, of_request)
    if issued is None:
        comparison.add("certificate", row.cert_id, "no event says that it was issued")
        return
    for name, stored in (
        ("sha256_fingerprint", row.sha256_fingerprint),
        ("not_after", row.not_after.isoformat()),
        ("policy_version", row.policy_version),
    ):
        comparison.expect("certificate", row.cert_id, name, stored=stored, logged=issued.data.get(name))
    expected = _revocation_of(row.cert_id, of_request, later)
    comparison.expect("certificate", row.cert_id, "status", stored=row.status, logged=expected.status)


def _revocation_of(cert_id: str, of_request: list[Logged], later: dict[str, list[Logged]]) -> RevocationState:
    """Return the state of a revocation. A certificate for a blocked key is revoked in the phase that records it."""
    at_once = [e for e in of_request if e.event == "certificate:revocation_requested" and e.data.get("cert_id") == cert_id]
    return revocation_state([*at_once, *later[f"certificate:{cert_id}"]])


def _revocations(page: list[Revocation], comparison: Comparison) -> None:
    certificates = rows_named(Certificate, [row.certificate_id for row in page])
    requests = rows_named(CertificateRequest, [one.request_id for one in certificates.values()])
    later = events_of([f"certificate:{one.cert_id}" for one in certificates.values()], CERTIFICATE_EVENTS)
    first = events_of([one.subject for one in requests.values()], REQUEST_EVENTS)
    for row in page:
        comparison.compared["revocations"] += 1
        certificate = certificates.get(row.certificate_id)
        if certificate is None:  # the comparison of links names it
            continue
        request = requests.get(certificate.request_id)
        of_request = first[request.subject] if request is not None else []
        _revocation(row, certificate.cert_id, _revocation_of(certificate.cert_id, of_request, later), comparison)


def _revocation(row: Revocation, cert_id: str, expected: RevocationState, comparison: Comparison) -> None:
    if not expected.reason:
        comparison.add("revocation", cert_id, "no event says that it was requested")
        return
    found: dict[str, Any] = {
        "reason": row.reason,
        "requested_by": row.requested_by,
        "requested_at": row.requested_at,
        "confirmed": row.confirmed_at is not None,
        "releasing": row.release_requested_at is not None,
        "released": row.released_at is not None,
        "invalidity_date": row.invalidity_date.isoformat() if row.invalidity_date else "",
        "by_security_team": row.by_security_team,
    }
    for name, stored in found.items():
        logged = getattr(expected, name)
        if logged is not None:  # events of an earlier release do not say it
            comparison.expect("revocation", cert_id, name, stored=stored, logged=logged)
