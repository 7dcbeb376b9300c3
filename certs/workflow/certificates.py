"""Writing verified certificates into the inventory, and the answer that a requester gets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from audit.events import EventType
from certs.models import Certificate, CertificateBody, CertificateRequest, Chain, Issuer, Revocation, new_public_id
from certs.terms import RequestState as S
from certs.terms import RevocationReason
from certs.workflow.believing import Believed
from certs.workflow.states import WORKER, Move, transition_many
from certs.x509.pem import pem_of
from certs.x509.serial import format_serial
from keys.lifecycle import blocked_keys


def record_certificates(believed: Sequence[tuple[CertificateRequest, Believed]], *, issuer: Issuer, now: datetime) -> None:
    """csr_created -> issued, with the certificate's row, bytes and event in the same transaction.

    A certificate that came back for a key blocked meanwhile is recorded and its revocation requested at once.
    """
    if not believed:
        return
    blocked = blocked_keys({request.spki_sha256 for request, _ in believed})
    chains = {pem: _chain(pem, issuer) for pem in {b.chain_pem for _, b in believed}}
    certificates = Certificate.objects.bulk_create(
        [_row(request, b, issuer, chains[b.chain_pem], now, blocked=request.spki_sha256 in blocked) for request, b in believed]
    )
    CertificateBody.objects.bulk_create(
        [CertificateBody(certificate=c, der=b.der) for c, (_, b) in zip(certificates, believed, strict=True)]
    )
    Revocation.objects.bulk_create([_revocation(c, now) for c in certificates if c.status == Certificate.Status.REVOCATION_PENDING])
    transition_many(
        [_move(request, c) for c, (request, _) in zip(certificates, believed, strict=True)], source=S.CSR_CREATED, actor=WORKER, now=now
    )


def _row(request: CertificateRequest, believed: Believed, issuer: Issuer, chain: Chain, now: datetime, *, blocked: bool) -> Certificate:
    facts = believed.facts
    return Certificate(
        cert_id=new_public_id("cert", now),
        request=request,
        issuer=issuer,
        serial_number=f"{facts.serial_number:x}",
        status=Certificate.Status.REVOCATION_PENDING if blocked else Certificate.Status.GOOD,
        common_name=facts.common_name,
        team=request.team,
        requester_id=request.requester_id,
        profile=request.profile,
        policy_version=request.policy_version,
        key_id=request.key_id,
        key_type=request.key_type,
        spki_sha256=facts.spki_sha256,
        sha256_fingerprint=facts.sha256_fingerprint,
        not_before=facts.not_before,
        not_after=facts.not_after,
        issued_at=now,
        renewed_from_id=request.renewed_from_id,
        chain=chain,
    )


def _revocation(certificate: Certificate, now: datetime) -> Revocation:
    return Revocation(certificate=certificate, reason=RevocationReason.KEY_COMPROMISE, requested_at=now, requested_by=WORKER.name)


def _chain(pem: str, issuer: Issuer) -> Chain:
    chain, _ = Chain.objects.get_or_create(sha256=hashlib.sha256(pem.encode()).hexdigest(), defaults={"issuer": issuer, "pem": pem})
    return chain


def _move(request: CertificateRequest, certificate: Certificate) -> Move:
    data = {
        "cert_id": certificate.cert_id,
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "issuer": certificate.issuer.name,
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "policy_version": certificate.policy_version,
        "not_after": certificate.not_after.isoformat(),
    }
    events: list[tuple[EventType, dict[str, Any]]] = [(EventType.CERTIFICATE_ISSUED, data)]
    if certificate.status == Certificate.Status.REVOCATION_PENDING:
        events.append(
            (EventType.CERTIFICATE_REVOCATION_REQUESTED, {"cert_id": certificate.cert_id, "reason": str(RevocationReason.KEY_COMPROMISE)})
        )
    return Move(
        request,
        (S.ISSUED,),
        tuple(events),
        {"policy_version": certificate.policy_version, "error": "", "suggestion": "", "resume_id": None},
    )


def certificate_answer(certificate: Certificate, *, audit_reference: str) -> dict[str, Any]:
    """The answer of DESIGN 3: what a requester gets at every door once a certificate is in the inventory."""
    return {
        "success": True,
        "cert_id": certificate.cert_id,
        "certificate": pem_of(bytes(certificate.body.der)),
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "expires_at": certificate.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "audit_reference": audit_reference,
    }
