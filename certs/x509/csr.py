"""CSRs (RFC 2986): built with a key that may be elsewhere, and read from hostile hands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.errors import CSRRefused, PortalError
from certs.terms import RefusalClass
from certs.x509.certificate import general_names
from keys.signing import signing_hash
from certs.x509.names import parse_dns_name
from keys.spec import KeyFacts, facts_of, spki_der, spki_sha256


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
        raise PortalError("The CSR that was made is not the one asked for; it was thrown away.", next_step="The key backend may have signed with another key version; look there first.")


@dataclass(frozen=True, slots=True)
class CSRFacts:
    """What a CSR that passed asks for, in normal form. `storable` is False when its bytes hold a challenge password."""

    der: bytes
    spki_der: bytes
    spki_sha256: str
    key: KeyFacts
    common_name: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    stripped: tuple[str, ...] = ()
    storable: bool = True


def read_csr(data: bytes, *, domains: Sequence[str], max_names: int = 100, max_bytes: int = 65536) -> CSRFacts:
    """Read a CSR. Raises CSRRefused."""
    if len(data) > max_bytes:
        raise CSRRefused(RefusalClass.TOO_LARGE, "too large")
    try:
        csr = x509.load_pem_x509_csr(data) if data.lstrip().startswith(b"-----") else x509.load_der_x509_csr(data)
        valid = csr.is_signature_valid
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception as exc:
        raise CSRRefused(RefusalClass.MALFORMED, "not a readable CSR") from exc
    if not valid:
        raise CSRRefused(RefusalClass.BAD_SIGNATURE, "bad signature")
    key = facts_of(csr.public_key())
    if key is None:
        raise CSRRefused(RefusalClass.UNSUPPORTED_KEY, "unsupported key")
    dns = tuple(parse_dns_name(name).ascii for name in names.get_values_for_type(x509.DNSName))
    spki = spki_der(csr.public_key())
    return CSRFacts(csr.public_bytes(Encoding.DER), spki, spki_sha256(spki), key, dns[0], dns, ())
