"""A request as JSON for its requester: the same at every channel."""

from __future__ import annotations

import time
from typing import Any

from certs.enums import RequestState as S
from certs.models import Certificate, CertificateRequest
from certs.requests.facts.advice import shortened
from certs.requests.states import UNFINISHED
from certs.requests.waiting_reasons import waiting_reason
from certs.x509.asn1.pem import pem_of
from certs.x509.certificate.serial import format_serial

POLL_SECONDS = 0.02


def answer(request: CertificateRequest) -> dict[str, Any]:
    """Return the state of a request as JSON. `success` is true only when its certificate is in the inventory."""
    certificate = Certificate.objects.select_related("body").filter(request=request).first()
    if certificate is not None and request.state == S.COMPLETED:
        certificate.request = request
        return certificate_answer(certificate, audit_reference=request.public_id)
    waits = "Waits for approval by the security team" if request.state == S.AWAITING_APPROVAL else "Not finished yet"
    result: dict[str, Any] = {
        "success": False,
        "error": waiting_reason(request) or waits,
        "state": request.state,
        "audit_reference": request.public_id,
    }
    if request.policy_version:
        result["policy_version"] = request.policy_version
    if request.suggestion:
        result["suggestion"] = request.suggestion
    if request.resume_id:
        result["resume_id"] = request.resume_id
    return result


def is_settled(request: CertificateRequest) -> bool:
    """Return whether nothing more will happen without a person."""
    return request.state not in UNFINISHED or request.held_since is not None


def wait(request: CertificateRequest, *, seconds: float) -> CertificateRequest:
    """Read the row until the request is settled or `seconds` have passed. Returns the row. Reads the database, never a Celery result."""
    deadline = time.monotonic() + seconds
    while True:
        request.refresh_from_db()
        if is_settled(request) or time.monotonic() >= deadline:
            return request
        time.sleep(POLL_SECONDS)


def certificate_answer(certificate: Certificate, *, audit_reference: str) -> dict[str, Any]:
    """Return what a requester gets at every channel once the certificate is in the inventory."""
    return {
        "success": True,
        "cert_id": certificate.cert_id,
        "certificate": pem_of(bytes(certificate.body.der)),
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "expires_at": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "audit_reference": audit_reference,
        **({"notes": notes} if (notes := shortened(certificate, certificate.request)) else {}),
    }
