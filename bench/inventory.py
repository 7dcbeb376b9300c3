"""A large inventory in seconds: one real certificate, and copies of its rows made inside PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connection, models

from audit.log import Actor
from bench.csrs import make_csr
from bench.portal import requester
from certs.issuance.synchronous import Call, issue_batch
from certs.models import Certificate, CertificateRequest, Revocation
from certs.spec import CertificateSpec

BENCH = Actor("command", "bench")


def fill(count: int) -> Certificate:
    """That many certificates of the own CA, their serial numbers random. Returns the one that is real."""
    der, spki, name = make_csr("template.example.com")
    (request,) = issue_batch([Call(CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", der, spki), requester())])
    assert isinstance(request, CertificateRequest)
    template = Certificate.objects.select_related("issuer", "body").get(request=request)
    copy(CertificateRequest, request.pk, count, {"public_id": "'bench-' || n", "digest": "md5(n::text)"})
    serial = "'4' || md5(random()::text || n) || substr(md5(random()::text), 1, 7)"
    unique = {"cert_id": "'bench-' || n", "serial_number": serial, "sha256_fingerprint": "md5(n::text) || md5(n::text || 'x')"}
    copy(Certificate, template.pk, count, unique | {"request_id": f"{request.pk} + n"})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE certs_certificate, certs_certificaterequest")
    return template


def copy(model: type[models.Model], template: int, count: int, changes: Mapping[str, str]) -> None:
    """Copies of one row with the ids after it; `changes` are SQL by column, `n` counts from 1."""
    columns = [str(field.column) for field in model._meta.concrete_fields]
    values = [changes.get(column, "t.id + n" if column == "id" else f't."{column}"') for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({names}) SELECT {', '.join(values)}"  # noqa: S608 - our own columns
            f" FROM {model._meta.db_table} t, generate_series(1, %s) AS n WHERE t.id = %s",
            [count, template],
        )


_REVOKED = {  # SQL by column
    "certificate_id": "id",
    "reason": "(ARRAY['unspecified','keyCompromise','superseded','cessationOfOperation'])[1 + mod(id, 4)]",
    "requested_at": "now() - random() * interval '365 days'",
    "confirmed_at": "now()",
    "first_crl_number": "1",
    "tries": "1",
} | dict.fromkeys(("requested_by", "comment", "release_requested_by", "last_error"), "''")


def revoke_first(count: int, *, after: int) -> None:
    """Have that many copies be revoked, at times of the last year and for several reasons, and already on an older CRL."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE certs_revocation")
        cursor.execute("UPDATE certs_certificate SET status = 'good' WHERE status <> 'good'")
        cursor.execute(
            "UPDATE certs_certificate SET status = 'revoked', status_version = 3 WHERE id > %s AND id <= %s", [after, after + count]
        )
        cursor.execute(
            f"INSERT INTO certs_revocation ({', '.join(_REVOKED)}) SELECT {', '.join(_REVOKED.values())} FROM certs_certificate"  # noqa: S608
            " WHERE status = 'revoked'"
        )
        cursor.execute("VACUUM ANALYZE certs_certificate")
        cursor.execute("VACUUM ANALYZE certs_revocation")
    assert Revocation.objects.count() == count
