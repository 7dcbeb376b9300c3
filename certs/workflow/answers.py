"""What a requester is told about a request: one JSON answer, the same at every door (DESIGN 3)."""

from __future__ import annotations

import time
from typing import Any

from certs.models import Certificate, CertificateRequest
from certs.terms import RequestState as S
from certs.workflow.certificates import certificate_answer
from certs.workflow.waiting_reasons import waiting_reason

POLL_SECONDS = 0.02


def answer(request: CertificateRequest) -> dict[str, Any]:
    """Where a request stands. `success` is true only when its certificate is in the inventory."""
    certificate = Certificate.objects.select_related("body").filter(request=request).first()
    if certificate is not None and request.state == S.COMPLETED:
        certificate.request = request
        return certificate_answer(certificate, audit_reference=request.public_id)
    told: dict[str, Any] = {
        "success": False,
        "error": waiting_reason(request) or _waiting(request),
        "state": request.state,
        "audit_reference": request.public_id,
    }
    if request.policy_version:
        told["policy_version"] = request.policy_version
    if request.suggestion:
        told["suggestion"] = request.suggestion
    if request.resume_id:
        told["resume_id"] = request.resume_id
    return told


def _waiting(request: CertificateRequest) -> str:
    if request.state == S.AWAITING_APPROVAL:
        return "Waits for approval by the security team"
    return "Not finished yet"


def is_settled(request: CertificateRequest) -> bool:
    """Nothing more will happen without somebody's doing."""
    return request.state in (S.COMPLETED, S.REJECTED, S.FAILED, S.CANCELLED, S.AWAITING_APPROVAL) or request.held_since is not None


def wait(request: CertificateRequest, *, seconds: float) -> CertificateRequest:
    """Look at the row until the request is settled or the time is over. Reads the database only: never a Celery result."""
    deadline = time.monotonic() + seconds
    while True:
        request.refresh_from_db()
        if is_settled(request) or time.monotonic() >= deadline:
            return request
        time.sleep(POLL_SECONDS)
