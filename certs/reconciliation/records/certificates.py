"""Compare the row of a certificate with its DER, whose fingerprint is in the log, with its request,
and with the events that say who wrote what about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509

from certs.ca.urls import shard_of
from certs.enums import RequestState
from certs.models import Certificate, CertificateRequest
from certs.reconciliation.records.comparison import Comparison, but
from certs.reconciliation.records.explained import DESCRIPTION, Logged, description, description_at
from certs.x509.asn1.reader import inside
from certs.x509.certificate.decoded import Reading
from keys.spec import spki_sha256

# What a certificate takes over from its request, and never changes.
_OF_REQUEST = ("team_id", "requester_id", "issuer_id", "profile", "key_id", "key_type", "spki_sha256", "renewed_from_id")


def compare_content(row: Certificate, request: CertificateRequest, der: bytes | None, names: set[str], comparison: Comparison) -> None:
    """Add each difference. `names`: those by which people find it; `der`: None where it is missing."""
    for field_name in _OF_REQUEST:
        stored, requested = getattr(row, field_name), getattr(request, field_name)
        if stored != requested:
            what = field_name.removesuffix("_id")
            comparison.add("certificate", row.cert_id, f"its {what} is not that of its request {request.public_id}")
    if der is None or hashlib.sha256(der).hexdigest() != row.sha256_fingerprint:
        comparison.add("certificate", row.cert_id, "its DER is not what was recorded: the fingerprint differs")
        return
    content = _content_of(der)
    for what, stored in (
        ("serial_number", row.serial_number),
        ("not_before", row.not_before),
        ("not_after", row.not_after),
        ("common_name", row.common_name),
        ("crl_shard", row.crl_shard),
        # they are written with the step that completes the request
        ("names", content["names"] if not names and request.state == RequestState.ISSUED else names),
    ):
        if stored != content[what]:
            comparison.add("certificate", row.cert_id, f"{what} of its row differs from the certificate itself")
    if row.spki_sha256 not in content["keys"]:
        comparison.add("certificate", row.cert_id, "its row names another public key than the certificate itself")


def compare_description(
    row: Certificate,
    events: Sequence[Logged],
    issued: Logged,
    before: tuple[Certificate, Sequence[Logged]] | None,
    accounts: Mapping[Any, set[str]],
    comparison: Comparison,
) -> None:
    """Add each part of the description that no event explains.

    `before` is the certificate that this one renews, with its events: a renewal inherits the
    description that it had when the event `issued` was written. `accounts` has the names over time
    of each owner, by key.
    """
    if before is not None:
        renewed, of_renewed = before
        start = description_at(_description_of(renewed), of_renewed, before=issued.pk)
    else:
        start = {"owner": row.requester_id, "purpose": "", "critical_function": False, "last_review": None, "renewal_off_reason": ""}
    logged, stored = description(start, events), _description_of(row)
    for name in DESCRIPTION:
        same = logged[name] == stored[name]
        if name == "owner" and isinstance(logged[name], str):  # the log names a person as called then
            same = logged[name] in accounts.get(row.owner_id, ())
        if not same:
            comparison.add("certificate", row.cert_id, but(name, stored[name], logged[name]))


def _description_of(row: Certificate) -> dict[str, Any]:
    """Return the description in the row, in the form of the events; the owner by key."""
    return {
        "owner": row.owner_id,
        "purpose": row.purpose,
        "critical_function": row.critical_function,
        "last_review": row.last_review.isoformat() if row.last_review else None,
        "renewal_off_reason": row.renewal_off_reason,
    }


def _content_of(der: bytes) -> dict[str, Any]:
    """Return the fields of the certificate. The DER was verified when it was recorded; its fingerprint shows that it is the same."""
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
