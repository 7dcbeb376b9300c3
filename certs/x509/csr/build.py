"""CSRs (RFC 2986) made here: signed with a key that may be elsewhere, parsed again and compared before they count. Pure."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from certs.errors import PortalError
from certs.x509.asn1.reader import SEQUENCE, inside
from certs.x509.asn1.writer import bit_string, signature_algorithm, tlv
from certs.x509.certificate.template import Subject, splice_request_info
from keys.signing import ecdsa_with, sign_message
from keys.spec import spki_der


def build_csr(
    private_key: Any, *, common_name: str, dns_names: tuple[str, ...], ip_addresses: tuple[str, ...], spki: bytes | None = None
) -> bytes:
    """Return a PKCS#10 request in DER, parsed again and compared with what was requested. Raises PortalError when they differ.

    `spki`: the key's SubjectPublicKeyInfo, where it is at hand.
    """
    public_key = private_key.public_key()
    subject = Subject(spki or spki_der(public_key), common_name, dns_names, ip_addresses, "")
    info = splice_request_info(subject)
    der = tlv(SEQUENCE, info, signature_algorithm(public_key), bit_string(sign_message(private_key, info)))
    if not _is_as_requested(der, public_key, subject):
        raise PortalError(
            "The CSR that was made is not the one asked for; it was thrown away.",
            next_step="The key backend may have signed with another key version; look there first.",
        )
    return der


def _is_as_requested(der: bytes, public_key: Any, subject: Subject) -> bool:
    csr = x509.load_der_x509_csr(der)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        _is_signed_with(csr, public_key)
        and inside(csr.tbs_certrequest_bytes)[2] == subject.spki_der
        and tuple(names.get_values_for_type(x509.DNSName)) == subject.dns_names
        and tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)) == subject.ip_addresses
    )


def _is_signed_with(csr: x509.CertificateSigningRequest, public_key: Any) -> bool:
    """For an EC key without loading it from the CSR anew."""
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        return csr.is_signature_valid
    digest = csr.signature_hash_algorithm
    if digest is None:
        return False
    try:
        public_key.verify(csr.signature, csr.tbs_certrequest_bytes, ecdsa_with(digest))
    except InvalidSignature:
        return False
    return True
