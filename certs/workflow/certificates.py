"""Writing verified certificates into the inventory, and the answer that a requester gets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from audit.events import EventType
from certs.ca.addresses import shard_of
from certs.models import Certificate, CertificateBody, CertificateRequest, Chain, Issuer, Revocation, new_public_id
from certs.models.batch import give_ids, insert_models
from certs.terms import RequestState as S
from certs.terms import RevocationReason
from certs.workflow.believing import Believed
from certs.workflow.states import WORKER, Move, transition_many
from certs.workflow.succession import note_succession, reasons_for_results
from certs.x509.pem import pem_of
from certs.x509.serial import format_serial
from keys.lifecycle import blocked_keys


def record_certificates(believed: Sequence[tuple[CertificateRequest, Believed]], *, issuer: Issuer, now: datetime) -> list[Certificate]:
    """csr_created -> issued, with the certificate's row, bytes and event in the same transaction.

    A certificate that came back for a key blocked meanwhile, or as the renewal of one revoked meanwhile, is recorded and its
    revocation requested at once.
    """
    if not believed:
        return []
    blocked = blocked_keys({request.spki_sha256 for request, _ in believed})
    fates: dict[int, RevocationReason] = reasons_for_results([request for request, _ in believed])
    fates |= {request.pk: RevocationReason.KEY_COMPROMISE for request, _ in believed if request.spki_sha256 in blocked}
    chains = {pem: _chain(pem, issuer) for pem in {b.chain_pem for _, b in believed}}
    certificates = [_row(request, b, issuer, chains[b.chain_pem], now, revoked=request.pk in fates) for request, b in believed]
    give_ids(certificates)
    bodies = [CertificateBody(certificate=c, der=b.der) for c, (_, b) in zip(certificates, believed, strict=True)]
    revocations = [_revocation(c, fates[c.request_id], now) for c in certificates if c.request_id in fates]
    insert_models(certificates, bodies, revocations)
    transition_many(
        [_move(request, c, fates.get(request.pk)) for c, (request, _) in zip(certificates, believed, strict=True)],
        source=S.CSR_CREATED,
        actor=WORKER,
        now=now,
    )
    note_succession(certificates, now=now)
    return certificates


def alert_date(not_before: datetime, not_after: datetime) -> datetime:
    """When the owner is reminded: 30 days (PKI_RENEW_BEFORE_DAYS) before expiry, or a third of the life before it when that is shorter."""
    life = not_after - not_before + timedelta(seconds=1)  # both ends belong to it
    return not_after - min(timedelta(days=settings.PKI_RENEW_BEFORE_DAYS), life / 3)


def _row(request: CertificateRequest, believed: Believed, issuer: Issuer, chain: Chain, now: datetime, *, revoked: bool) -> Certificate:
    facts = believed.facts
    return Certificate(
        cert_id=new_public_id("cert", now),
        request=request,
        issuer=issuer,
        serial_number=f"{facts.serial_number:x}",
        status=Certificate.Status.REVOCATION_PENDING if revoked else Certificate.Status.GOOD,
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
        alert_at=alert_date(facts.not_before, facts.not_after),
        issued_at=now,
        renewed_from_id=request.renewed_from_id,
        chain=chain,
        crl_shard=shard_of(facts.crl_url),
    )


def _revocation(certificate: Certificate, reason: RevocationReason, now: datetime) -> Revocation:
    return Revocation(certificate=certificate, reason=reason, requested_at=now, requested_by=WORKER.name)


def _chain(pem: str, issuer: Issuer) -> Chain:
    sha256 = hashlib.sha256(pem.encode()).hexdigest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM certs_chain WHERE sha256 = %s", [sha256])
        found = cursor.fetchone()
    if found:
        return Chain(id=found[0], sha256=sha256, issuer=issuer, pem=pem)
    return Chain.objects.get_or_create(sha256=sha256, defaults={"issuer": issuer, "pem": pem})[0]


def _move(request: CertificateRequest, certificate: Certificate, revoked_for: RevocationReason | None) -> Move:
    data = {
        "cert_id": certificate.cert_id,
        "serial_number": format_serial(int(certificate.serial_number, 16)),
        "issuer": certificate.issuer.name,
        "sha256_fingerprint": certificate.sha256_fingerprint,
        "policy_version": certificate.policy_version,
        "not_after": certificate.not_after.isoformat(),
    }
    events: list[tuple[EventType, dict[str, Any]]] = [(EventType.CERTIFICATE_ISSUED, data)]
    if revoked_for is not None:
        events.append((EventType.CERTIFICATE_REVOCATION_REQUESTED, {"cert_id": certificate.cert_id, "reason": str(revoked_for)}))
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
