"""The CRLs of a CA elsewhere, fetched from the addresses in its certificates and used only when
that CA has signed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import requests
from cryptography import x509

from certs.ca.base import CAUnreachable, RevokedThere
from certs.ca.outside import http_address, session_to
from certs.enums import RevocationReason
from certs.models import Certificate
from db.clock import database_now
from keys.bounded import BoundedCalls

MAX_BYTES = 64 * 1024 * 1024  # some 1.5 million entries
TIMEOUTS = (3.0, 30.0)  # seconds to connect, and between two pieces
TOTAL_TIMEOUT = 300.0  # seconds of one download, however slowly it comes
_downloads = BoundedCalls(most=8)
_REASONS = {str(reason): reason for reason in RevocationReason}


def revoked_on_crls(alias: str) -> Iterator[RevokedThere] | None:
    """Return the certificates that are good in the inventory and on a CRL of their CA; None when no certificate of that CA names a CRL.

    Raises CAUnreachable for a CRL that cannot be had, is too old, or was signed by somebody else.
    """
    good = Certificate.objects.filter(issuer__alias=alias, status=Certificate.Status.GOOD, not_after__gt=database_now())
    places: dict[str, x509.Certificate] = {}
    # One certificate for each chain and shard is decoded: the others name the same address.
    for chain, shard in good.order_by().values_list("chain", "crl_shard").distinct():
        example = good.filter(chain=chain, crl_shard=shard).select_related("body", "chain").order_by("-pk")[:1]
        for certificate in example:
            if address := crl_address(x509.load_der_x509_certificate(bytes(certificate.body.der))):
                places[address] = x509.load_pem_x509_certificates(certificate.chain.pem.encode())[0]
    return _good_ones(alias, places) if places else None


def _good_ones(alias: str, places: dict[str, x509.Certificate]) -> Iterator[RevokedThere]:
    """Yield the entries of the CRLs whose certificates are good in the inventory, a thousand in one query."""
    for address, authority in places.items():
        entries = iter(fetched_crl(address, authority))
        while part := list(islice(entries, 1000)):
            by_serial = {f"{entry.serial_number:x}": entry for entry in part}
            good = Certificate.objects.filter(issuer__alias=alias, status=Certificate.Status.GOOD, serial_number__in=by_serial)
            for serial in good.values_list("serial_number", flat=True):
                entry = by_serial[serial]
                yield RevokedThere(entry.serial_number, entry.revocation_date_utc, _reason(entry))


def crl_address(certificate: x509.Certificate) -> str:
    """Return the first http address of its CRL distribution points; an empty text when it has none."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return ""
    names = [name.value for point in points for name in point.full_name or () if isinstance(name, x509.UniformResourceIdentifier)]
    return http_address(names)


def fetched_crl(address: str, authority: x509.Certificate) -> Iterable[x509.RevokedCertificate]:
    """Return the entries of a CRL that its CA signed and that has not expired. Raises CAUnreachable."""
    try:
        crl = x509.load_der_x509_crl(_downloads.run(lambda: _fetched(address), seconds=TOTAL_TIMEOUT))
    except (requests.RequestException, OSError, ValueError) as exc:
        why = str(exc) if type(exc) is ValueError else type(exc).__name__
        raise CAUnreachable(f"the CRL at {address} cannot be had ({why})") from exc
    # The connection is plain http (RFC 5280 8): only the signature shows whose list it is. An expired list could hide revocations
    # that a newer one has.
    key: Any = authority.public_key()
    if crl.issuer != authority.subject or not crl.is_signature_valid(key):
        raise CAUnreachable(f"the CRL at {address} is not signed by {authority.subject.rfc4514_string()}")
    if crl.next_update_utc is None or crl.next_update_utc <= database_now():
        raise CAUnreachable(f"the CRL at {address} has expired")
    return crl


def _fetched(address: str) -> bytes:
    with (
        session_to(address) as (session, url, headers),
        session.get(url, headers=headers, timeout=TIMEOUTS, allow_redirects=False, stream=True) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"answered {response.status_code}")
        # Counted while it comes: Content-Length is the sender's word.
        data = bytearray()
        for piece in response.iter_content(65536):
            data += piece
            if len(data) > MAX_BYTES:
                raise ValueError("too long")
    return bytes(data)


def _reason(entry: x509.RevokedCertificate) -> RevocationReason:
    try:
        value = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        return RevocationReason.UNSPECIFIED
    return _REASONS.get(value, RevocationReason.UNSPECIFIED)
