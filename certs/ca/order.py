"""The order that a CA gets for a request."""

from __future__ import annotations

from datetime import datetime

from certs.ca.base import Order
from certs.models import CertificateRequest, RequestCSR


def order_for(request: CertificateRequest, csr: RequestCSR, *, now: datetime, longest_days: int | None = None) -> Order:
    """Return the order of a request. Its reference is the request's own id, the same each time that it is built.

    `longest_days`: the maximum of the policy that was just evaluated; None to ask a CA for what it has signed already.
    """
    return Order(
        order_ref=request.public_id,
        csr_der=bytes(csr.der),
        spki_der=bytes(csr.spki_der),
        spki_sha256=csr.spki_sha256,
        common_name=request.common_name,
        dns_names=tuple(request.dns_names),
        ip_addresses=tuple(request.ip_addresses),
        profile=request.profile,
        validity_days=request.validity_days,
        policy_version=request.policy_version,
        intended_at=now,
        organization=request.team.organization,
        not_after=request.not_after,
        longest_days=longest_days,
    )
