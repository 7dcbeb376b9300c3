"""Certificates that came from a CA without being wanted: revoked at the CA, unless they belong to somebody here.

Every automatic revocation of a certificate outside the inventory goes through `revoke_unwanted`.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from django.db import transaction
from django.db.models import Q

from certs.ca.base import CAClient, RevocationOrder
from certs.enums import AlertKind, RevocationReason
from certs.enums import RequestState as S
from certs.errors import NotFound
from certs.models import Certificate, CertificateRequest, Issuer
from certs.notifications.alerts import raise_alert
from certs.x509.asn1.pem import serial_of
from db.clock import database_now
from keys.spec import spki_sha256


class BelongsHere(Exception):
    """The certificate is on record here, or is the one that another order waits for."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


def owner_of(issuer: Issuer, der: bytes, *, besides: CertificateRequest) -> str:
    """Return, for a message, what the certificate belongs to; "" for nothing.

    That is a certificate in the inventory, or a request other than `besides` that waits for this CA
    with this public key.
    """
    # By fingerprint, and by serial number at this CA: the same certificate signed twice differs in its signature. Not by names or
    # key alone, which several good certificates may share.
    serial = serial_of(der)
    same = Q(sha256_fingerprint=hashlib.sha256(der).hexdigest())
    if serial is not None:
        same |= Q(issuer=issuer, serial_number=f"{serial:x}")
    recorded = Certificate.objects.filter(same).values_list("cert_id", flat=True).first()
    if recorded is not None:
        return f"certificate {recorded}"
    waiting = CertificateRequest.objects.filter(issuer=issuer, state=S.CSR_CREATED, spki_sha256=_key_of(der))
    other = waiting.exclude(pk=besides.pk).values_list("public_id", flat=True).first()
    return f"request {other}" if other is not None else ""


def _key_of(der: bytes) -> str:
    try:
        return spki_sha256(x509.load_der_x509_certificate(der).public_key())
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return "unreadable"  # equals no digest


def revoke_unwanted(client: CAClient, issuer: Issuer, der: bytes, reason: RevocationReason, *, request: CertificateRequest) -> str:
    """Revoke at the CA a certificate that came for `request`. Returns what became of it, for the
    record. No transaction may be open.

    Raises BelongsHere, after which a person decides, and CAUnreachable.
    """
    # A CA that mixes up orders sends the good certificate of another request. Revoked automatically, it would take a service down.
    owner = owner_of(issuer, der, besides=request)
    if owner:
        raise BelongsHere(owner)
    serial = serial_of(der)
    if serial is None:
        return "unreadable: nothing that could be revoked"
    try:
        client.revoke(RevocationOrder(serial, reason, database_now(), der))
    except NotFound:
        return "the CA does not know this serial"
    return "revoked"


@transaction.atomic
def alert_kept(issuer: Issuer, owner: str, *, request: CertificateRequest) -> None:
    """Alert operators that a certificate which came for another order was not revoked."""
    raise_alert(
        kind=AlertKind.CERTIFICATE_OF_ANOTHER,
        cause=f"{request.public_id}:{owner}"[:128],
        message=f"{issuer.name} sent the certificate of {owner} for {request.public_id}. It is good and was not revoked.",
        next_step="Find out why the CA mixes up orders before you rely on its replies.",
        now=database_now(),
    )


def what_to_do(serial: str, owner: str) -> str:
    """Return the next step for a circuit that a certificate of `owner` opened."""
    return (
        f"{owner.capitalize()} stays as it is. Find out why the CA mixes up orders. Then let orders go on: "
        f"`manage.py reconcile_ca --settle {serial} --because ...`."
    )
