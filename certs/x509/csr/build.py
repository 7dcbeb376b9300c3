"""CSRs (RFC 2986) that the portal makes: signed by a key that may be elsewhere, then parsed again and compared. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.errors import PortalError
from keys.signing import signing_hash
from keys.spec import spki_der

_UB_COMMON_NAME = 64  # RFC 5280 appendix A.1


def build_csr(private_key: Any, *, common_name: str, dns_names: tuple[str, ...], ip_addresses: tuple[str, ...]) -> bytes:
    """Return a PKCS#10 request in DER. A common name of more than 64 characters is left out.

    Raises PortalError for a request that does not verify or is not the one requested: a backend whose
    key was replaced between two calls signs with another key than the one it has just shown.
    """
    short = bool(common_name) and len(common_name) <= _UB_COMMON_NAME
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if short else [])
    names = x509.SubjectAlternativeName([*map(x509.DNSName, dns_names), *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ip_addresses)])
    public_key = private_key.public_key()
    # The SAN is critical if and only if the subject is empty (RFC 5280 4.2.1.6).
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=not short)
    der = builder.sign(private_key, signing_hash(public_key)).public_bytes(Encoding.DER)
    # Read back and compared: the key is in another process or device, and the CA would certify whatever key the CSR has.
    made = x509.load_der_x509_csr(der)
    if (
        not made.is_signature_valid
        or spki_der(made.public_key()) != spki_der(public_key)
        or made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value != names
    ):
        raise PortalError(
            "The CSR that was made is not the one asked for; it was thrown away.",
            next_step="The key backend may have signed with another key version; look there first.",
        )
    return der
