"""Compare the row of a certificate with its DER, whose fingerprint is in the log, and with its request."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography import x509

from certs.ca.urls import shard_of
from certs.enums import RequestState
from certs.models import Certificate, CertificateRequest
from certs.reconciliation.records.comparison import Comparison
from certs.x509.asn1.reader import inside
from certs.x509.certificate.decoded import Reading
from keys.spec import spki_sha256

# What a certificate takes over from its request, and never changes.
_OF_REQUEST = ("team_id", "requester_id", "issuer_id", "profile", "key_id", "key_type", "spki_sha256", "renewed_from_id")


def compare_content(row: Certificate, request: CertificateRequest, der: bytes | None, names: set[str], comparison: Comparison) -> None:
    """Add each difference. `names`: those by which people find it; `der`: None where it is missing."""
    for field_name in _OF_REQUEST:
        stored, asked = getattr(row, field_name), getattr(request, field_name)
        if stored != asked:
            what = field_name.removesuffix("_id")
            comparison.add("certificate", row.cert_id, f"its {what} is not that of its request {request.public_id}")
    if der is None or hashlib.sha256(der).hexdigest() != row.sha256_fingerprint:
        comparison.add("certificate", row.cert_id, "its DER is not what was recorded: the fingerprint differs")
        return
    says = _says(der)
    for what, stored in (
        ("serial_number", row.serial_number),
        ("not_before", row.not_before),
        ("not_after", row.not_after),
        ("common_name", row.common_name),
        ("crl_shard", row.crl_shard),
        # they are written with the step that completes the request
        ("names", says["names"] if not names and request.state == RequestState.ISSUED else names),
    ):
        if stored != says[what]:
            comparison.add("certificate", row.cert_id, f"{what} of its row differs from the certificate itself")
    if row.spki_sha256 not in says["keys"]:
        comparison.add("certificate", row.cert_id, "its row names another public key than the certificate itself")


def _says(der: bytes) -> dict[str, Any]:
    """The DER was verified when it was recorded, and its fingerprint shows that it is the same."""
    read = Reading(x509.load_der_x509_certificate(der), inside(der)[0])
    points = read.value(x509.CRLDistributionPoints) or ()
    urls = [str(name.value) for point in points for name in point.full_name or ()]
    return {
        "serial_number": f"{read.serial_number:x}",
        "not_before": read.not_before,
        "not_after": read.not_after,
        "common_name": next(iter(read.common_names), ""),
        "crl_shard": shard_of(urls[0]) if urls else 0,
        "names": {str(name) for _, name in read.names},
        # two encodings of one key: as the CA wrote it, and as the CSR did
        "keys": {spki_sha256(read.spki_der), spki_sha256(read.certificate.public_key())},
    }
