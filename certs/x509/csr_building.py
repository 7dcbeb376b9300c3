"""CSRs (RFC 2986) made here: signed with a key that may be elsewhere, parsed again and compared before they count. Pure."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.errors import PortalError
from certs.x509.certificate import general_names
from keys.signing import signing_hash
from keys.spec import spki_der


def build_csr(private_key: Any, *, common_name: str, dns_names: tuple[str, ...], ip_addresses: tuple[str, ...]) -> bytes:
    """A PKCS#10 request in DER, parsed again and compared with what was asked. Raises PortalError when they differ."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name and len(common_name) <= 64 else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(general_names(dns_names, ip_addresses), critical=not list(subject))
    der = builder.sign(private_key, signing_hash(private_key.public_key())).public_bytes(Encoding.DER)
    _compare(der, private_key.public_key(), dns_names, ip_addresses)
    return der


def _compare(der: bytes, public_key: Any, dns_names: tuple[str, ...], ip_addresses: tuple[str, ...]) -> None:
    csr = x509.load_der_x509_csr(der)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    same = (
        csr.is_signature_valid
        and spki_der(csr.public_key()) == spki_der(public_key)
        and tuple(names.get_values_for_type(x509.DNSName)) == dns_names
        and tuple(str(ip) for ip in names.get_values_for_type(x509.IPAddress)) == ip_addresses
    )
    if not same:
        raise PortalError(
            "The CSR that was made is not the one asked for; it was thrown away.",
            next_step="The key backend may have signed with another key version; look there first.",
        )
