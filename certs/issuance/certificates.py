"""Writing verified certificates into the inventory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings

from audit.events import EventType
from audit.log import UnitOfWork
from certs.ca.urls import shard_of
from certs.enums import RequestState as S
from certs.enums import RevocationReason
from certs.issuance.verify import Verified
from certs.models import Certificate, CertificateBody, CertificateRequest, Chain, Issuer, Revocation, new_public_id
from certs.requests.lineage import lock_renewed, note_succession, reasons_for_results
from certs.requests.states import WORKER, Move, transition_many
from certs.x509.certificate.serial import format_serial
from db.reads import Read, combined
from db.rows import Lock, selection
from keys.models import PublicKey


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What is on record of what came with certificates: the chains, and the public keys, which nobody can block before the end of
    the transaction.
    """

    chains: Sequence[Chain]
    keys: Sequence[PublicKey]


def on_record(verified: Sequence[tuple[CertificateRequest, Verified]]) -> Read[OnRecord]:
    """Return a read of what is on record, with the public keys locked.

    They are locked before the renewed certificates, as everywhere: a revocation of either comes before this, and is seen, or after it.
    """
    chains = selection(Chain, sha256={_sha256(b.chain_pem) for _, b in verified})
    keys = selection(PublicKey, lock=Lock.SHARE, spki_sha256={request.spki_sha256 for request, _ in verified})
    return combined([chains, keys], OnRecord)


def record_certificates(
    work: UnitOfWork,
    verified: Sequence[tuple[CertificateRequest, Verified]],
    *,
    known: OnRecord,
    issuer: Issuer,
    now: datetime,
) -> list[Certificate]:
    """Move requests from csr_created to issued, with the certificate's row, bytes and event. The requests are locked and in csr_created.

    Where the key was blocked, or the renewed certificate revoked, while the CA signed, the certificate is recorded and its
    revocation requested in the same transaction. `known`: of these or more, read in this transaction.
    """
    if not verified:
        return []
    requests = [request for request, _ in verified]
    # 1. The chain that came with them, nearly always on record.
    chains = _chains({_sha256(b.chain_pem): b.chain_pem for _, b in verified}, known.chains, issuer)
    # 2. What must be revoked at once: a key that was blocked, or a lineage that was stopped, while the CA signed. Such a
    #    certificate is recorded all the same: it exists, and whoever has it must learn that it is revoked.
    blocked = {key.pk for key in known.keys if key.is_blocked}
    renewed = lock_renewed(requests)
    fates: dict[int, RevocationReason] = reasons_for_results(requests, renewed)
    fates |= {request.pk: RevocationReason.KEY_COMPROMISE for request in requests if request.spki_sha256 in blocked}
    # 3. The rows. A renewal inherits what people wrote about the certificate before: its row is locked,
    #    so a change of its description comes before this, or later and finds that it was renewed.
    certificates = [_row(request, b, issuer, chains[b.chain_pem], now, revoked=request.pk in fates) for request, b in verified]
    for certificate in certificates:
        if (before := renewed.get(certificate.request_id)) is not None:
            inherit_description(certificate, before)
    work.insert(
        certificates,
        [CertificateBody(certificate=certificate, der=b.der) for certificate, (_, b) in zip(certificates, verified, strict=True)],
        [
            Revocation(certificate=certificate, reason=fates[certificate.request_id], requested_at=now, requested_by=WORKER.name)
            for certificate in certificates
            if certificate.request_id in fates
        ],
    )
    # 4. The requests go on, and each renewed certificate names what replaces it. The delivery of the revocations of step 2 is
    #    left to the sweeper: it runs every few seconds, and such a race is rare.
    moves = [_move(certificate, fates.get(certificate.request_id)) for certificate in certificates]
    transition_many(work, moves, source=S.CSR_CREATED, actor=WORKER, now=now)
    note_succession(work, certificates, now=now)
    return certificates


def alert_date(not_before: datetime, not_after: datetime) -> datetime:
    """Return when the owner is reminded: 30 days (PKI_RENEW_BEFORE_DAYS) before the end, or a third of the life where that is shorter."""
    return _alert_date(not_before, not_after, settings.PKI_RENEW_BEFORE_DAYS)


@lru_cache(maxsize=64)
def _alert_date(not_before: datetime, not_after: datetime, days: int) -> datetime:
    """Return `alert_date`; kept, because the dates of a batch are mostly the same."""
    life = not_after - not_before + timedelta(seconds=1)  # both ends belong to it
    return not_after - min(timedelta(days=days), life / 3)


def _row(request: CertificateRequest, verified: Verified, issuer: Issuer, chain: Chain, now: datetime, *, revoked: bool) -> Certificate:
    # Content from the certificate itself, as it was verified; from the request only what no certificate says.
    facts = verified.facts
    return Certificate(
        cert_id=new_public_id("cert", now),
        request=request,
        issuer=issuer,
        serial_number=f"{facts.serial_number:x}",
        status=Certificate.Status.REVOCATION_PENDING if revoked else Certificate.Status.GOOD,
        common_name=facts.common_name,
        team=request.team,
        requester_id=request.requester_id,
        owner_id=request.requester_id,
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


def inherit_description(certificate: Certificate, before: Certificate) -> None:
    """Give a new certificate what people wrote about the one that it renews.

    The reason for which the renewal is off is inherited too: it was given for the service, and a
    person who renews once by hand does not take it back.
    """
    certificate.owner_id = before.owner_id
    certificate.purpose = before.purpose
    certificate.notes = before.notes
    certificate.tags = before.tags
    certificate.runbook = before.runbook
    certificate.critical_function = before.critical_function
    certificate.last_review = before.last_review
    certificate.renewal_off_reason = before.renewal_off_reason


def _chains(wanted: Mapping[str, str], known: Sequence[Chain], issuer: Issuer) -> dict[str, Chain]:
    """Return the row of each chain by its PEM, made when it is new. `wanted`: PEM by SHA-256."""
    found = {wanted[chain.sha256]: chain for chain in known if chain.sha256 in wanted}
    for sha256, pem in wanted.items():
        if pem not in found:
            found[pem] = Chain.objects.get_or_create(sha256=sha256, defaults={"issuer": issuer, "pem": pem})[0]
    return found


@lru_cache(maxsize=64)
def _sha256(pem: str) -> str:
    return hashlib.sha256(pem.encode()).hexdigest()


def _move(certificate: Certificate, revoked_for: RevocationReason | None) -> Move:
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
    fields = {"policy_version": certificate.policy_version, "error": "", "suggestion": "", "resume_id": None}
    return Move(certificate.request, (S.ISSUED,), tuple(events), fields)
