"""Compare CRL, OCSP and inventory for each certificate of the own CAs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from django.db import transaction

from audit.events import EventType
from audit.log import Actor, record
from certs.ca.lifetime import has_ended
from certs.models import Certificate, IssuanceIntent, Issuer
from certs.status.crl import points_of
from certs.status.crl.serve import published_crl
from certs.status.ocsp import answer
from certs.status.publishing import own_issuing_cas
from certs.x509.asn1.writer import integer, tlv
from certs.x509.crl import REASON_CODES
from certs.x509.ocsp import MAX_CERTIFICATES, issuer_hashes
from db.clock import database_now

CRL_GRACE = timedelta(minutes=15)  # a revocation this young may still be on its way into a CRL
TOLD_AT_MOST = 100
_SHA256 = bytes.fromhex("300b0609608648016503040201")


@dataclass(slots=True)
class StatusComparison:
    """What a reconciliation of one CA's certificates found."""

    issuer: str
    compared: int = 0
    differences: list[str] = field(default_factory=list)
    count: int = 0  # of differences; only the first are listed one by one

    def differ(self, serial: str, what: str) -> None:
        self.count += 1
        if len(self.differences) < TOLD_AT_MOST:
            self.differences.append(f"{serial}: {what}")


def reconcile_status(*, actor: Actor) -> list[StatusComparison]:
    """Compare inventory, CRL and OCSP for every certificate of every own CA that has not expired."""
    found = []
    for issuer in own_issuing_cas():
        comparison = StatusComparison(issuer.name)
        now = database_now()
        if has_ended(issuer, now=now):
            continue
        listed = _listed(issuer, comparison, now=now)
        for part in _chunks(_expected(issuer, now=now)):
            _compare_crl(part, listed, comparison, now=now)
            _compare_ocsp(issuer, part, comparison)
        for serial in _still_listed(issuer, listed, now=now):
            comparison.differ(serial, "on the CRL, but the inventory does not say revoked")
        found.append(comparison)
        with transaction.atomic():
            data = {"compared": comparison.compared, "differences": comparison.count}
            record(EventType.STATUS_RECONCILED, subject=f"issuer:{issuer.slug}", actor=actor, at=database_now(), data=data)
    return found


@dataclass(frozen=True, slots=True)
class _Expected:
    """The status of a serial in the inventory: `good`, `revoked` or `unknown`, and where it should be found."""

    serial: str
    word: str
    shard: int
    reason: str = ""
    since: datetime | None = None


def _expected(issuer: Issuer, *, now: datetime) -> Iterator[_Expected]:
    certificates = Certificate.objects.filter(issuer=issuer, not_after__gte=now).order_by("pk")
    rows = certificates.values_list("serial_number", "status", "crl_shard", "revocation__reason", "revocation__requested_at")
    for serial, status, shard, reason, since in rows.iterator(chunk_size=2000):
        word = "revoked" if status in Certificate.SAYS_REVOKED else "good"
        yield _Expected(serial, word, shard, reason or "", since)
    given_up = IssuanceIntent.objects.filter(issuer=issuer, state=IssuanceIntent.State.ABANDONED, not_after__gte=now)
    for serial, shard, at in given_up.values_list("serial_number", "crl_shard", "revoked_at").iterator(chunk_size=2000):
        yield _Expected(serial, "revoked", shard, "", at)


def _shards(one: _Expected) -> tuple[int, ...]:
    """Return the CRLs that a revoked certificate is on: the complete one, and its shard."""
    return (0, one.shard) if one.shard else (0,)


def _chunks(rows: Iterable[_Expected]) -> Iterator[list[_Expected]]:
    part: list[_Expected] = []
    for row in rows:
        part.append(row)
        if len(part) == MAX_CERTIFICATES:
            yield part
            part = []
    if part:
        yield part


def _listed(issuer: Issuer, comparison: StatusComparison, *, now: datetime) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return shards and reason code by serial of what the CRLs list. The signature and dates of each CRL are checked."""
    authority = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    listed: dict[str, tuple[tuple[int, ...], int]] = {}
    for point in points_of(issuer):
        served = published_crl(issuer.slug, point.shard)
        if served is None:
            comparison.differ(f"shard {point.shard}", "no CRL is published")
            continue
        crl = x509.load_der_x509_crl(b"".join(served.pieces()))
        if not crl.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
            comparison.differ(f"shard {point.shard}", "the published CRL's signature is wrong")
        if crl.next_update_utc is None or crl.next_update_utc <= now:
            comparison.differ(f"shard {point.shard}", "the published CRL has expired")
        for entry in crl:
            serial = f"{entry.serial_number:x}"
            others, _ = listed.get(serial, ((), 0))
            listed[serial] = ((*others, point.shard), _reason_code(entry))
    return listed


def _reason_code(entry: x509.RevokedCertificate) -> int:
    try:
        return REASON_CODES[entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value]
    except x509.ExtensionNotFound:
        return 0


def _compare_crl(
    part: list[_Expected], listed: dict[str, tuple[tuple[int, ...], int]], comparison: StatusComparison, *, now: datetime
) -> None:
    for one in part:
        comparison.compared += 1
        entry = listed.pop(one.serial, None)
        if one.word == "good" and entry is not None:
            comparison.differ(one.serial, "good in the inventory, on the CRL")
        elif one.word == "revoked" and entry is None:
            if one.since is None or one.since < now - CRL_GRACE:
                comparison.differ(one.serial, "revoked in the inventory, not on the CRL")
        elif entry is not None and entry != (_shards(one), REASON_CODES[one.reason] if one.reason else 0):
            comparison.differ(one.serial, "on another CRL, or for another reason, than the inventory says")


def _still_listed(issuer: Issuer, listed: dict[str, tuple[tuple[int, ...], int]], *, now: datetime) -> list[str]:
    """Return the listed serials that nothing explains: neither expired since, nor revoked without being in the inventory."""
    rest = list(listed)
    fine: set[str] = set()
    for first in range(0, len(rest), 1000):
        part = rest[first : first + 1000]
        expired = Certificate.objects.filter(issuer=issuer, serial_number__in=part, not_after__lt=now)
        fine |= set(expired.values_list("serial_number", flat=True))
        intents = IssuanceIntent.objects.filter(issuer=issuer, serial_number__in=part, revoked_at__isnull=False)
        fine |= set(intents.values_list("serial_number", flat=True))
    return sorted(set(rest) - fine)


def _compare_ocsp(issuer: Issuer, part: list[_Expected], comparison: StatusComparison) -> None:
    """Compare with the own responder: a request as of a relying party, and its signature verified."""
    authority = x509.load_der_x509_certificate(bytes(issuer.certificate_der or b""))
    request = _request(authority, [one.serial for one in part])
    reply = ocsp.load_der_ocsp_response(answer(issuer.slug, request, client="reconcile_status").body)
    if reply.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        for one in part:
            comparison.differ(one.serial, f"OCSP replies {reply.response_status.name.lower()}")
        return
    _check_signature(reply, authority, comparison)
    replied = {f"{single.serial_number:x}": single for single in reply.responses}
    for one in part:
        single = replied.get(one.serial)
        word = single.certificate_status.name.lower() if single else "nothing"
        reason = single.revocation_reason.value if single and single.revocation_reason else "unspecified"
        wrong_reason = one.word == "revoked" and REASON_CODES[reason] != REASON_CODES[one.reason or "unspecified"]
        if word != one.word or wrong_reason:
            comparison.differ(one.serial, f"{one.word} in the inventory, OCSP says {word} ({reason})")


def _check_signature(reply: ocsp.OCSPResponse, authority: x509.Certificate, comparison: StatusComparison) -> None:
    (responder,) = reply.certificates
    key: Any = responder.public_key()
    try:
        responder.verify_directly_issued_by(authority)
        key.verify(reply.signature, reply.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as exc:
        comparison.differ("responder", f"its signature or certificate is wrong ({type(exc).__name__})")


def _request(authority: x509.Certificate, serials: list[str]) -> bytes:
    """Return an OCSPRequest for several certificates of one issuer (RFC 6960 4.1.1); pyca's builder takes one."""
    name, key = next((name, key) for algorithm, name, key in issuer_hashes(authority) if algorithm == "sha256")
    requests = [tlv(0x30, tlv(0x30, _SHA256, tlv(0x04, name), tlv(0x04, key), integer(int(serial, 16)))) for serial in serials]
    return tlv(0x30, tlv(0x30, tlv(0x30, *requests)))
