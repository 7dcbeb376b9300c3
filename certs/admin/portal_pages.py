"""The portal's page of a row of the admin. The admin shows tables; what is done about a row is done on its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Model
from django.urls import reverse

from audit.models import AuditEvent
from certs.inventory import CertificateFilter
from certs.models import (
    CRL,
    Approval,
    Attempt,
    BulkChunk,
    BulkItem,
    BulkOrder,
    Certificate,
    CertificateRequest,
    IssuanceIntent,
    Issuer,
    OperatorAlert,
    PolicyEvaluation,
    QuarantinedCertificate,
    ResponderCertificate,
    Revocation,
    Team,
    UnclaimedResult,
    UnknownCertificate,
)
from keys.models import PublicKey

# What an audit event is about, as its subject begins.
_OF_SUBJECTS = {"request": "request", "certificate": "certificate", "bulk": "bulk-order", "issuer": "ca"}


def _request(row: Any) -> str:
    return reverse("request", args=[row.public_id])


def _of_request(row: Any) -> str:
    return _request(row.request)


def _order(row: Any) -> str:
    return reverse("bulk-order", args=[row.public_id])


def _of_order(row: Any) -> str:
    return _order(row.order)


def _ca(row: Any) -> str:
    return reverse("ca", args=[row.slug])


def _of_ca(row: Any) -> str:
    return _ca(row.issuer)


def _certificate(row: Any) -> str:
    return reverse("certificate", args=[row.cert_id])


def _event(row: Any) -> str:
    kind, _, name = row.subject.partition(":")
    return reverse(_OF_SUBJECTS[kind], args=[name]) if kind in _OF_SUBJECTS and name else ""


_PAGES: Mapping[type[Model], Callable[[Any], str]] = {
    CertificateRequest: _request,
    Approval: _of_request,
    PolicyEvaluation: _of_request,
    Attempt: _of_request,
    UnclaimedResult: _of_request,
    QuarantinedCertificate: _of_request,
    BulkOrder: _order,
    BulkItem: _of_order,
    BulkChunk: _of_order,
    Certificate: _certificate,
    Revocation: lambda row: _certificate(row.certificate),
    Issuer: _ca,
    IssuanceIntent: _of_ca,
    ResponderCertificate: _of_ca,
    UnknownCertificate: _of_ca,
    CRL: lambda row: _of_ca(row.point),
    PublicKey: lambda row: CertificateFilter(spki=row.spki_sha256).url(),
    Team: lambda row: CertificateFilter(team=row.slug).url(),
    OperatorAlert: lambda _row: reverse("alerts"),
    AuditEvent: _event,
}


def page_of(model: type[Model]) -> Callable[[Any], str] | None:
    """Return the function from a row of the table to the address of its page; None for a table without pages.

    The address of a row without a page is empty.
    """
    return _PAGES.get(model)
