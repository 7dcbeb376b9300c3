"""Requests: in words, field by field, or from a CSR; watching and resuming them."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest
from ninja import Router, Status

from certs.api.answers import RequestStatus, Submitted
from certs.api.http.auth import authority_of, requester_for, require_scope
from certs.api.http.paging import Cursor, Limit, Sought, Unchanged, page_at
from certs.api.http.responses import REFUSALS
from certs.api.schemas import IdempotencyKey, Plan, RequestAsForm, RequestInWords, RequestList
from certs.enums import RequestState
from certs.errors import InputRefused
from certs.inventory import filter_requests
from certs.models import CertificateRequest
from certs.requests.plan import Fields, describe, plan_csr, plan_fields, plan_words
from certs.requests.representation import answer
from certs.requests.submit import Requester, submit_many
from certs.requests.waiting import resume as resume_request
from certs.requests.waiting_reasons import waiting_reasons
from certs.spec import IssuePlan

router = Router()


@router.post("/words", response={200: Plan, 202: Submitted, **REFUSALS}, operation_id="request_in_words")
def in_words(request: HttpRequest, order: RequestInWords, idempotency_key: IdempotencyKey = "") -> Any:
    """Such as "Issue TLS certificate for api.example.com with RSA 4096, 90-day validity"."""
    requester = requester_for(request, "certificates:issue", idempotency_key=idempotency_key)
    plan = plan_words(order.text, requester=requester)
    if not isinstance(plan, IssuePlan):
        raise InputRefused(
            "These words ask for something other than issuing.",
            field="text",
            next_step="POST /api/v1/certificates/{cert_id}/renew or /revoke does that.",
        )
    if order.plan_only:
        return Status(200, describe(plan, requester=requester))
    return Status(202, _submitted(plan, requester))


@router.post("", response={202: Submitted, **REFUSALS}, operation_id="request_certificate")
def as_form(request: HttpRequest, order: RequestAsForm, idempotency_key: IdempotencyKey = "") -> Any:
    """One certificate. With a CSR, names and key are the CSR's, and the fields for them must be empty."""
    requester = requester_for(request, "certificates:issue", idempotency_key=idempotency_key)
    if order.csr:
        if order.common_name or order.sans or order.key:
            raise InputRefused(
                "With a CSR, names and key come from the CSR.", field="csr", next_step="Leave common_name, sans and key out."
            )
        plan = plan_csr(
            order.csr.encode(), requester=requester, validity_days=order.validity_days, not_after=order.not_after, profile=order.profile
        )
    else:
        fields = Fields(order.common_name, tuple(order.sans), order.key, order.validity_days, order.profile, order.not_after)
        plan = plan_fields(fields, requester=requester)
    return Status(202, _submitted(plan, requester))


def _submitted(plan: IssuePlan, requester: Requester) -> dict[str, Any]:
    if requester.idempotency_key and len(plan.specs) != 1:
        raise InputRefused(
            "An idempotency key goes with one certificate.", field="Idempotency-Key", next_step="Send one request for each certificate."
        )
    rows = submit_many(plan.specs, requester=requester)
    return {
        "requests": [{"audit_reference": row.public_id, "state": row.state, "url": f"/api/v1/requests/{row.public_id}"} for row in rows]
    }


@router.get("", response={200: RequestList, **REFUSALS}, operation_id="list_requests")
def index(
    request: HttpRequest,
    q: Sought = "",
    state: RequestState | None = None,
    unchanged: Unchanged = 0,
    cursor: Cursor = "",
    limit: Limit = 50,
) -> Any:
    """Requests of the token's team, newest first, found as in the portal."""
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    rows = CertificateRequest.objects.filter(team=request.auth.team).select_related("certificate", "issuer")  # type: ignore[attr-defined]
    found = filter_requests(rows, text=q, state=state or "", unchanged_days=unchanged)
    page, following = page_at(found, cursor, q, state or "", unchanged, limit=limit)
    reasons = waiting_reasons(page.rows)
    return Status(200, {"requests": [_summary(row, reasons[row.pk]) for row in page.rows], "next": following})


def _summary(row: CertificateRequest, error: str) -> dict[str, Any]:
    certificate = getattr(row, "certificate", None)
    return {
        "audit_reference": row.public_id,
        "state": row.state,
        "common_name": row.common_name,
        "names": row.names,
        "key": row.key_type,
        "profile": row.profile,
        "created_at": row.created_at,
        "error": error,
        "cert_id": certificate.cert_id if certificate else None,
    }


@router.get("/{public_id}", response={200: RequestStatus, **REFUSALS}, exclude_unset=True, operation_id="read_request")
def read(request: HttpRequest, public_id: str) -> Any:
    """Where a request stands; once it is completed, its certificate."""
    require_scope(request.auth, "certificates:read")  # type: ignore[attr-defined]
    row = CertificateRequest.objects.filter(team=request.auth.team, public_id=public_id).first()  # type: ignore[attr-defined]
    if row is None:
        raise Http404
    return Status(200, answer(row))


@router.post("/resume/{resume_id}", response={202: RequestStatus, **REFUSALS}, exclude_unset=True, operation_id="resume_request")
def resume(request: HttpRequest, resume_id: str) -> Any:
    """Go on with a request that was held or failed, without a second key or CSR."""
    require_scope(request.auth, "certificates:issue")  # type: ignore[attr-defined]
    row = resume_request(resume_id, authority=authority_of(request))
    return Status(202, answer(row))
