"""Certificates in any state, as copies of one real row: quick to make by the hundred."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.db import connection, models

from certs.enums import RequestState, RevocationReason
from certs.models import Certificate, CertificateBody, CertificateName, CertificateRequest, Revocation

Row = TypeVar("Row", Certificate, CertificateRequest)


class Estate:
    """Collects rows and writes them together with `save`."""

    def __init__(self, template: Certificate, *, begin: int = 1) -> None:
        """`begin`: the first number of the copies, where the template has some already."""
        self.template, self.begin = template, begin
        self.requests: list[CertificateRequest] = []
        self.certificates: list[Certificate] = []
        self.revocations: list[Revocation] = []
        self.names: list[CertificateName] = []

    def add(self, *, reason: RevocationReason = RevocationReason.SUPERSEDED, name: str = "", **values: Any) -> Certificate:
        """A certificate with these values; a revoked one is revoked for `reason`."""
        number = self.begin + len(self.certificates)
        request = self.add_request(state=RequestState.COMPLETED, renewed_from=values.get("renewed_from"))
        row = _copy(self.template)
        row.request, row.cert_id = request, f"cert-copy-{number}"
        row.serial_number, row.sha256_fingerprint = f"{number:08x}", f"{number:064x}"
        row.common_name = name or row.common_name
        for field, value in values.items():
            setattr(row, field, value)
        self.certificates.append(row)
        self.names.append(CertificateName(certificate=row, kind="dns", name=row.common_name))
        if row.status != Certificate.Status.GOOD:
            at = row.issued_at + timedelta(hours=1)
            revoked = Revocation(certificate=row, reason=reason, requested_at=at, requested_by="alice")
            self.revocations.append(revoked)
        return row

    def add_request(self, *, state: RequestState, renewed_from: Certificate | None) -> CertificateRequest:
        """A request in that state. Two living requests cannot renew one certificate."""
        row = _copy(self.template.request)
        row.public_id, row.state = f"req-copy-{self.begin + len(self.requests)}", state
        row.resume_id, row.bulk_item, row.idempotency_key = None, None, ""
        row.renewed_from = renewed_from
        self.requests.append(row)
        return row

    def save(self) -> None:
        """Insert the rows, requests first; a renewal refers to a row that has its id by then."""
        renewing = [(row, row.renewed_from) for row in self.requests if row.renewed_from is not None]
        for row, _ in renewing:
            row.renewed_from = None
        CertificateRequest.objects.bulk_create(self.requests)
        # One by one in the order in which they were added: a renewal comes after what it renews.
        first = [row for row in self.certificates if row.renewed_from is None]
        second = [row for row in self.certificates if row.renewed_from is not None]
        Certificate.objects.bulk_create(first)
        Certificate.objects.bulk_create(second)
        for row, before in renewing:
            row.renewed_from = before
        CertificateRequest.objects.bulk_update([row for row, _ in renewing], ["renewed_from"], batch_size=200)
        der = self.template.body.der
        CertificateBody.objects.bulk_create([CertificateBody(certificate=row, der=der) for row in self.certificates])
        CertificateName.objects.bulk_create(self.names)
        Revocation.objects.bulk_create(self.revocations)


@contextmanager
def analyzed(*tables: type[models.Model]) -> Iterator[None]:
    """Let the planner know what these tables hold, and empty them afterwards: it would go on expecting these rows in the tests that follow.

    A plan without it depends on which tests ran before, and on when autovacuum came by.
    """
    names = [one._meta.db_table for one in tables]
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(f"VACUUM ANALYZE {name}")
    yield
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = %s::regclass", [name])
            cursor.execute(f"TRUNCATE {name} CASCADE")


def _copy(row: Row) -> Row:
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row)(**(values | {"id": None}))
