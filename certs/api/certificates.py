"""The CA endpoint (one portal as another's CA), and reading certificates."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.http import urlencode
from ninja import Query, Router, Status

from certs.api.answers import CertificateDetail
from certs.api.http.auth import authority_of, idempotency_scope, requester_for, require_scope, scopes_of_replaced_tokens
from certs.api.http.paging import Cursor, Limit, window_at
from certs.api.http.problems import problem
from certs.api.http.responses import REFUSALS
from certs.api.schemas import (
    Accepted,
    CertificateList,
    CertificateQuery,
    Describe,
    Described,
    IdempotencyKey,
    IssuedCertificate,
    IssueFromCSR,
    OrderedCertificates,
)
from certs.enums import RequestState as S
from certs.inventory import CertificateFilter, CertificateState, renewal_of, state_of, states_of
from certs.inventory.download import content_of, take
from certs.inventory.listing.listed import view_of
from certs.inventory.listing.sorts import Sort
from certs.issuance.synchronous import Call, issue_now
from certs.models import ApiToken, Certificate, CertificateRequest, Revocation
from certs.requests.description import Changes, describe
from certs.requests.facts.advice import shortened
from certs.requests.facts.decisions import waivers_used_by
from certs.requests.plan import plan_csr
from certs.requests.representation import certificate_answer, is_settled, wait
from certs.requests.submit import submit_many
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.serial import format_serial
from db.clock import database_now

router = Router()
_written = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
DEFAULT_DAYS = 90  # of this endpoint, for an order that names neither days nor an end date


@router.post("/issue", response={200: IssuedCertificate, 202: Accepted, **REFUSALS}, operation_id="issue_certificate")
def issue(request: HttpRequest, order: IssueFromCSR, idempotency_key: IdempotencyKey = "") -> Any:
    """Sign a CSR. The same Idempotency-Key answers the same certificate for as long as it exists; 202 when a person must approve."""
    requester = requester_for(request, "certificates:issue", idempotency_key=idempotency_key)
    days = order.validity_days or (0 if order.not_after is not None else DEFAULT_DAYS)
    plan = plan_csr(order.csr.encode(), requester=requester, validity_days=days, not_after=order.not_after, profile=order.profile)
    if settings.PKI_CA_API_INLINE:
        row = issue_now(Call(plan.specs[0], requester))
    else:
        (row,) = submit_many(plan.specs, requester=requester)
    if not is_settled(row):
        row = wait(row, seconds=settings.PKI_CA_API_WAIT_SECONDS)
    return _outcome(row)


def _outcome(row: CertificateRequest) -> Any:
    if row.state == S.COMPLETED:
        certificate = _certificate_of(row)
        if certificate.status != Certificate.Status.GOOD:  # the client would take it for a good one
            message = f"The certificate of this order, {certificate.cert_id}, was revoked."
            return problem(409, "revoked", message, cert_id=certificate.cert_id, audit_reference=row.public_id)
        # Written here, since ninja's schema takes longer to read and write it again; the tests hold it to the schema.
        return HttpResponse(_written(_issued(certificate, row)), content_type="application/json; charset=utf-8")
    if row.state == S.REJECTED:
        return problem(
            403,
            "rejectedIdentifier" if "domain" in row.error else "policy_violation",
            row.error,
            suggestion=row.suggestion,
            policy_version=row.policy_version,
            audit_reference=row.public_id,
        )
    if row.state in (S.FAILED, S.CANCELLED):
        return problem(
            409, "failed", row.error or f"The request is {row.state_words}.", resume_id=row.resume_id, audit_reference=row.public_id
        )
    if row.held_since is not None:
        response = problem(503, "ca_unavailable", row.error, resume_id=row.resume_id, state=row.state, audit_reference=row.public_id)
        response["Retry-After"] = "30"
        return response
    order = f"{settings.PKI_PORTAL_URL}/api/v1/requests/{row.public_id}"
    return Status(202, {"state": row.state, "order": order, "audit_reference": row.public_id})


def _certificate_of(row: CertificateRequest) -> Certificate:
    """From memory when this process has just made it."""
    if CertificateRequest._meta.get_field("certificate").is_cached(row):
        return row.certificate
    return Certificate.objects.select_related("body", "chain").get(request=row)


def _issued(certificate: Certificate, row: CertificateRequest) -> dict[str, Any]:
    return {
        "certificate": pem_of(bytes(certificate.body.der)),
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "not_before": certificate.not_before.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "not_after": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "cert_id": certificate.cert_id,
        "chain": _links(certificate.chain.pem),
        "notes": shortened(certificate, row),
    }


@lru_cache(maxsize=64)
def _links(pem: str) -> list[str]:
    return [c.public_bytes(Encoding.PEM).decode() for c in x509.load_pem_x509_certificates(pem.encode())]


@router.get("/by-order/{order_ref}", response={200: IssuedCertificate, 202: Accepted, **REFUSALS}, operation_id="certificate_by_order")
def by_order(request: HttpRequest, order_ref: str) -> Any:
    """What became of an order sent with that Idempotency-Key and this token, or with a token that it replaced.

    404 when no such order arrived, or when its certificate was revoked.
    """
    require_scope(request.auth, "certificates:issue")  # type: ignore[attr-defined]
    token: ApiToken = request.auth  # type: ignore[attr-defined]
    rows = CertificateRequest.objects.filter(team=token.team, idempotency_key=order_ref)
    row = rows.filter(idempotency_scope=idempotency_scope(token)).first()
    if row is None:
        # A portal whose token was replaced after it sent the order, and before it had the answer,
        # would be told that nothing arrived, send the order again and get a second certificate.
        row = rows.filter(idempotency_scope__in=scopes_of_replaced_tokens(token)).order_by("-pk").first()
    if row is None or row.state in (S.REJECTED, S.CANCELLED):
        raise Http404
    if row.state == S.COMPLETED and _certificate_of(row).status != Certificate.Status.GOOD:
        raise Http404
    return _outcome(row)


@router.get("/ordered", response={200: OrderedCertificates, **REFUSALS}, operation_id="certificates_ordered")
def ordered(
    request: HttpRequest,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> Any:
    """Every unexpired certificate that was ordered over this API for the token's team, oldest first: with this another portal sees
    whether there are any that it does not know.
    """
    require_scope(request.auth, "certificates:issue")  # type: ignore[attr-defined]
    rows = Certificate.objects.filter(team=request.auth.team, request__door="api", not_after__gt=database_now(), pk__gt=after)  # type: ignore[attr-defined]
    page = list(rows.select_related("body").order_by("pk")[: limit + 1])
    shown = page[:limit]
    entries = [
        {
            "serial_number": format_serial(int(one.serial_number, 16)),
            "status": one.status,
            "certificate": pem_of(bytes(one.body.der)),
        }
        for one in shown
    ]
    return Status(200, {"certificates": entries, "next": shown[-1].pk if len(page) > limit else None})


@router.get("", response={200: CertificateList, **REFUSALS}, operation_id="list_certificates")
def index(
    request: HttpRequest,
    sought: Query[CertificateQuery],
    cursor: Cursor = "",
    limit: Limit = 50,
) -> Any:
    """Certificates of the token's team, filtered and sorted as in the portal; newest first where `sort` names no order."""
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    now = database_now()
    wanted = CertificateFilter.from_query(sought.dict(exclude_none=True, exclude={"sort"}))
    sort = sought.sort or Sort.NEWEST.value
    view = view_of(authority_of(request).sees(), wanted, sort, now=now)
    ids, following = window_at(view, cursor, urlencode(wanted.to_query() | {"sort": sort}), limit=limit)
    rows = Certificate.objects.filter(pk__in=ids).select_related("issuer", "request", "owner")
    found, states = {row.pk: row for row in rows.prefetch_related("names")}, states_of(ids, now)
    return Status(200, {"certificates": [_summary(found[pk], states[pk]) for pk in ids if pk in found and pk in states], "next": following})


def _summary(certificate: Certificate, state: CertificateState) -> dict[str, Any]:
    return {
        "cert_id": certificate.cert_id,
        "common_name": certificate.common_name,
        "names": [one.name for one in certificate.names.all()],
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "status": certificate.status,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "issuer": certificate.issuer.name,
        "profile": certificate.profile,
        "key": certificate.key_type,
        "audit_reference": certificate.request.public_id,
        "state": state.value,
        **_described(certificate),
    }


def _described(certificate: Certificate) -> dict[str, Any]:
    """What people wrote about it, and how it is renewed."""
    return {
        "owner": certificate.owner.get_username() if certificate.owner else None,
        "purpose": certificate.purpose,
        "notes": certificate.notes,
        "tags": certificate.tag_list,
        "runbook": certificate.runbook,
        "critical_function": certificate.critical_function,
        "last_review": certificate.last_review,
        "renewal": renewal_of(certificate).value,
        "renewal_off_reason": certificate.renewal_off_reason,
    }


@router.get("/{cert_id}", response={200: CertificateDetail, **REFUSALS}, exclude_unset=True, operation_id="read_certificate")
def read(request: HttpRequest, cert_id: str) -> Any:
    """One certificate of the token's team."""
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    certificate = _mine(request).filter(cert_id=cert_id).first()
    if certificate is None:
        raise Http404
    return certificate_answer(certificate, audit_reference=certificate.request.public_id) | {
        "status": certificate.status,
        "state": state_of(certificate, database_now()).value,
        **_described(certificate),
        "issuer": certificate.issuer.name,
        "profile": certificate.profile,
        "policy_version": certificate.policy_version,
        "waivers": [one.reference for one in waivers_used_by(certificate.request_id)],
        "chain": certificate.chain.pem,
        **_life(certificate),
    }


@router.patch("/{cert_id}", response={200: Described, **REFUSALS}, operation_id="describe_certificate")
def describe_by_id(request: HttpRequest, cert_id: str, order: Describe) -> Any:
    """Change owner, purpose, critical function and review of a certificate, or switch its renewal off and on.

    Only the fields that are sent change; a renewal inherits them. Each change is in the audit log.
    """
    require_scope(request.auth, "certificates:issue")  # type: ignore[attr-defined]
    certificate = _mine(request).filter(cert_id=cert_id).first()
    if certificate is None:
        raise Http404
    changes = cast("Changes", order.dict(exclude_none=True))
    row = describe(certificate, changes, authority=authority_of(request), channel="api")
    result = {"cert_id": row.cert_id, "state": state_of(row, database_now()).value}
    return Status(200, result | _described(row))


def _life(certificate: Certificate) -> dict[str, Any]:
    """What it renews, what follows it, and whether it was revoked."""
    following = Certificate.objects.filter(renewed_from=certificate).values_list("cert_id", flat=True).first()
    life = {"renewed_from": certificate.renewed_from.cert_id if certificate.renewed_from else None, "superseded_by": following}
    revocation = Revocation.objects.filter(certificate=certificate).first()
    if revocation is None or certificate.status == Certificate.Status.GOOD:
        return life
    return life | {
        "revocation": {
            "reason": revocation.reason,
            "revoked_at": revocation.requested_at.isoformat(),
            "invalidity_date": revocation.invalidity_date.isoformat() if revocation.invalidity_date else None,
            "confirmed": revocation.confirmed_at is not None,
        }
    }


class Format(StrEnum):
    """A file of a certificate."""

    FULLCHAIN = "fullchain"
    CERT = "cert"
    CHAIN = "chain"
    ROOT = "root"
    DER = "der"
    PKCS7 = "p7b"


_FILES = {one: f"{one}.pem" for one in Format} | {Format.DER: "cert.der", Format.PKCS7: "chain.p7b"}


@router.get("/{cert_id}/pem", response={200: None, **REFUSALS}, operation_id="download_certificate")
def download(request: HttpRequest, cert_id: str, format: Format = Format.FULLCHAIN) -> HttpResponse:  # noqa: A002
    """A file of the certificate; 409 when it is not in force any more. Each download is in the audit log.

    `fullchain`: the certificate and its intermediates, for a TLS server. `cert`: the certificate
    alone. `chain`: everything above it, the root included. `root`: the root. `der`: the certificate
    in DER. `p7b`: the certificate and its intermediates as PKCS #7 (RFC 2315), for Windows and Java.
    """
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    certificate = _mine(request).filter(cert_id=cert_id).first()
    if certificate is None:
        raise Http404
    # `ApiMethods` answers HEAD with GET's operation: the file is only asked about then.
    read = content_of if request.META["REQUEST_METHOD"] == "HEAD" else take
    content, content_type = read(certificate, _FILES[format], authority=authority_of(request))
    return HttpResponse(content, content_type=content_type)


def _mine(request: HttpRequest) -> Any:
    rows = Certificate.objects.select_related("body", "chain", "issuer", "request", "renewed_from", "owner")
    return rows.filter(team=request.auth.team)  # type: ignore[attr-defined]
