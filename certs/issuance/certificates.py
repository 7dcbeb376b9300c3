"""Writing verified certificates into the inventory, and the answer that a requester gets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings

from audit.events import EventType
from certs.ca.urls import shard_of
from certs.enums import RequestState as S
from certs.enums import RevocationReason
from certs.issuance.verify import Believed
from certs.models import Certificate, CertificateBody, CertificateName, CertificateRequest, Chain, Issuer, Revocation, new_public_id
from certs.models.rows import insert_models, new
from certs.requests.lineage import lock_renewed, note_succession, reasons_for_results
from certs.requests.states import WORKER, Move, transition_many
from certs.x509.certificate.serial import format_serial
from db.sql import Query, among_texts, text_list
from keys.lifecycle import blocked_among, shared_keys_query


def record_certificates(
    believed: Sequence[tuple[CertificateRequest, Believed]],
    *,
    issuer: Issuer,
    now: datetime,
    complete: bool,
    read: Sequence[Sequence[Any]],
) -> list[Certificate]:
    """csr_created -> issued, with the certificate's row, bytes and event in the same transaction; and on to completed with
    `complete`, where nobody waits for the step between.

    A certificate that came back for a key blocked meanwhile, or as the renewal of one revoked meanwhile, is recorded and its
    revocation requested at once. The caller has locked the requests and found them at csr_created in this transaction;
    `read` is what `record_queries` answered there.
    """
    if not believed:
        return []
    found, shared = read
    chains, blocked = _chains({_sha256(b.chain_pem): b.chain_pem for _, b in believed}, found, issuer), blocked_among(shared)
    requests = [request for request, _ in believed]
    renewed = lock_renewed(requests)
    fates: dict[int, RevocationReason] = reasons_for_results(requests, renewed)
    fates |= {request.pk: RevocationReason.KEY_COMPROMISE for request, _ in believed if request.spki_sha256 in blocked}
    certificates = [_row(request, b, issuer, chains[b.chain_pem], now, revoked=request.pk in fates) for request, b in believed]
    for certificate in certificates:
        # The row of the renewed certificate is locked: a change of its description by a person
        # comes before this and is inherited, or comes later and finds that it was renewed.
        if (before := renewed.get(certificate.request_id)) is not None:
            inherit_description(certificate, before)
    bodies = [new(CertificateBody, certificate=c, der=b.der) for c, (_, b) in zip(certificates, believed, strict=True)]
    revocations = [_revocation(c, fates[c.request_id], now) for c in certificates if c.request_id in fates]
    names = [name for c in certificates for name in names_of(c)] if complete else []
    insert_models(certificates, bodies, revocations)
    insert_models(names, ids=False)
    transition_many(
        [_move(c, fates.get(c.request_id), complete=complete) for c in certificates],
        source=S.CSR_CREATED,
        actor=WORKER,
        now=now,
        seen=True,
    )
    note_succession(certificates, now=now)
    return certificates


def alert_date(not_before: datetime, not_after: datetime) -> datetime:
    """When the owner is reminded: 30 days (PKI_RENEW_BEFORE_DAYS) before expiry, or a third of the life before it when that is shorter."""
    return _alert_date(not_before, not_after, settings.PKI_RENEW_BEFORE_DAYS)


@lru_cache(maxsize=64)
def _alert_date(not_before: datetime, not_after: datetime, days: int) -> datetime:
    """(Those of a batch are mostly the same.)"""
    life = not_after - not_before + timedelta(seconds=1)  # both ends belong to it
    return not_after - min(timedelta(days=days), life / 3)


def _row(request: CertificateRequest, believed: Believed, issuer: Issuer, chain: Chain, now: datetime, *, revoked: bool) -> Certificate:
    facts = believed.facts
    return new(
        Certificate,
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


def _revocation(certificate: Certificate, reason: RevocationReason, now: datetime) -> Revocation:
    return Revocation(certificate=certificate, reason=reason, requested_at=now, requested_by=WORKER.name)


def names_of(certificate: Certificate) -> list[CertificateName]:
    """The names people search by."""
    request = certificate.request
    dns = [
        new(CertificateName, certificate=certificate, kind="dns", name=n, reversed_labels=".".join(reversed(n.split("."))))
        for n in request.dns_names
    ]
    return dns + [new(CertificateName, certificate=certificate, kind="ip", name=n, reversed_labels="") for n in request.ip_addresses]


def recorded_event(certificate: Certificate) -> tuple[EventType, dict[str, Any]]:
    """That the certificate is in the inventory with all that people look for."""
    alert_at = certificate.alert_at.isoformat() if certificate.alert_at else ""
    data = {"cert_id": certificate.cert_id, "alert_at": alert_at, "owner": certificate.request.team.slug}
    return EventType.CERTIFICATE_RECORDED, data


def record_queries(believed: Sequence[tuple[CertificateRequest, Believed]]) -> tuple[Query, Query]:
    """What `record_certificates` must know, for an `ask` after the requests are locked: chains, and blocked keys (locked too)."""
    chains = {_sha256(b.chain_pem) for _, b in believed}
    return _chains_query(chains), shared_keys_query(request.spki_sha256 for request, _ in believed)


def _chains_query(wanted: Iterable[str]) -> Query:
    return f"SELECT sha256, id FROM certs_chain WHERE {among_texts('sha256')}", [text_list(wanted)]  # noqa: S608 - constants


def _chains(wanted: Mapping[str, str], rows: Iterable[tuple[str, int]], issuer: Issuer) -> dict[str, Chain]:
    """The row of each chain, made when it is new. `wanted`: PEM by SHA-256."""
    found = {wanted[sha256]: Chain(id=pk, sha256=sha256, issuer=issuer, pem=wanted[sha256]) for sha256, pk in rows}
    for sha256, pem in wanted.items():
        if pem not in found:
            found[pem] = Chain.objects.get_or_create(sha256=sha256, defaults={"issuer": issuer, "pem": pem})[0]
    return found


@lru_cache(maxsize=64)
def _sha256(pem: str) -> str:
    return hashlib.sha256(pem.encode()).hexdigest()


def _move(certificate: Certificate, revoked_for: RevocationReason | None, *, complete: bool) -> Move:
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
    if complete:
        events.append(recorded_event(certificate))
    return Move(
        certificate.request,
        (S.ISSUED, S.COMPLETED) if complete else (S.ISSUED,),
        tuple(events),
        {"policy_version": certificate.policy_version, "error": "", "suggestion": "", "resume_id": None},
    )
