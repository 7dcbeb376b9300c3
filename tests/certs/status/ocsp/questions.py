"""Requests as relying parties send them, and what the answers say."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certs.models import Certificate
from certs.status.ocsp.respond import answer

SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()  # noqa: S303 - what most clients still ask with


def request_for(
    certificate: Certificate, *, algorithm: hashes.HashAlgorithm = SHA1, nonce: bytes | None = None, serial: int | None = None
) -> bytes:
    authority = x509.load_der_x509_certificate(bytes(certificate.issuer.certificate_der or b""))
    builder = ocsp.OCSPRequestBuilder()
    if serial is None:
        builder = builder.add_certificate(x509.load_der_x509_certificate(bytes(certificate.body.der)), authority, algorithm)
    else:
        one = ocsp.load_der_ocsp_request(request_for(certificate, algorithm=algorithm))
        builder = builder.add_certificate_by_hash(one.issuer_name_hash, one.issuer_key_hash, serial, algorithm)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def said(certificate: Certificate, data: bytes | None = None, *, client: str = "127.0.0.1") -> ocsp.OCSPResponse:
    return ocsp.load_der_ocsp_response(answer(certificate.issuer.slug, data or request_for(certificate), client=client).body)


def word(response: ocsp.OCSPResponse) -> str:
    return response.certificate_status.name.lower()
