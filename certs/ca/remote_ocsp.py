"""The OCSP responder of a CA elsewhere, asked at the address in a certificate as a relying party asks (RFC 6960)."""

from __future__ import annotations

from typing import Any

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certs.ca.base import CAUnreachable
from certs.ca.outside import http_address, session_to
from db.clock import database_now
from keys.bounded import BoundedCalls

MAX_BYTES = 64 * 1024
TIMEOUTS = (3.0, 10.0)  # seconds to connect, and between two pieces
TOTAL_TIMEOUT = 20.0
_calls = BoundedCalls(most=4)


def ocsp_address(certificate: x509.Certificate) -> str:
    """Return the first http address of its OCSP responders; an empty text when it names none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ""
    names = [one.access_location.value for one in found if one.access_method == AuthorityInformationAccessOID.OCSP]
    return http_address(names)


def status_at(address: str, certificate: x509.Certificate, authority: x509.Certificate) -> str:
    """Return what the responder says of the certificate: `good`, `revoked` or `unknown`.

    Raises CAUnreachable for a reply that cannot be had, is about another certificate, is too old, or
    is signed by nobody who may (RFC 6960 3.2, 4.2.2.2).
    """
    # SHA-1 names the certificate here and protects nothing; every responder knows it (RFC 5019 2.1.1).
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, authority, SHA1()).build()  # noqa: S303
    body = request.public_bytes(Encoding.DER)
    try:
        reply = ocsp.load_der_ocsp_response(_calls.run(lambda: _fetched(address, body), seconds=TOTAL_TIMEOUT))
        _check(reply, certificate, authority)
    except (requests.RequestException, OSError, InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as exc:
        raise CAUnreachable(f"the OCSP responder at {address} cannot be used ({str(exc) or type(exc).__name__})") from exc
    return reply.certificate_status.name.lower()


def _check(reply: ocsp.OCSPResponse, certificate: x509.Certificate, authority: x509.Certificate) -> None:
    # 1. The reply is about this certificate and of now (RFC 6960 3.2).
    if reply.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError(f"replies {reply.response_status.name.lower()}")
    if reply.serial_number != certificate.serial_number:
        raise ValueError("is about another certificate")
    if reply.next_update_utc is not None and reply.next_update_utc <= database_now():
        raise ValueError("is too old")
    # 2. It is signed by the CA itself, or by a responder that the CA has certified for this (RFC 6960 4.2.2.2).
    for signer in (authority, *reply.certificates):
        if signer is not authority and not _may_sign(signer, authority):
            continue
        try:
            _verify(signer.public_key(), reply)
        except InvalidSignature:
            continue
        return
    raise ValueError("is not signed by the CA or a responder of the CA")


def _may_sign(signer: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether a certificate in the reply is one of a delegated responder. Without OCSPSigning every server of the CA could."""
    try:
        signer.verify_directly_issued_by(authority)
        usages = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    in_time = signer.not_valid_before_utc <= database_now() < signer.not_valid_after_utc
    return in_time and ExtendedKeyUsageOID.OCSP_SIGNING in usages


def _verify(key: Any, reply: ocsp.OCSPResponse) -> None:
    algorithm = reply.signature_hash_algorithm
    match key:
        case rsa.RSAPublicKey() if algorithm is not None:
            key.verify(reply.signature, reply.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        case ec.EllipticCurvePublicKey() if algorithm is not None:
            key.verify(reply.signature, reply.tbs_response_bytes, ec.ECDSA(algorithm))
        case ed25519.Ed25519PublicKey():
            key.verify(reply.signature, reply.tbs_response_bytes)
        case _:
            raise InvalidSignature


def _fetched(address: str, body: bytes) -> bytes:
    with session_to(address) as (session, url, headers):
        headers["Content-Type"] = "application/ocsp-request"
        with session.post(url, data=body, headers=headers, timeout=TIMEOUTS, allow_redirects=False, stream=True) as response:
            if response.status_code != 200:
                raise ValueError(f"answered {response.status_code}")
            data = response.raw.read(MAX_BYTES + 1, decode_content=True)
    if len(data) > MAX_BYTES:
        raise ValueError("too long")
    return bytes(data)
