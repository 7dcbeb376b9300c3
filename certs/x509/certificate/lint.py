"""The linter that every TBSCertificate passes before it is signed: defects that no other tool
finds, and the portal's own rules. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509

from certs.x509.asn1.reader import key_identifier
from certs.x509.certificate.decoded import Reading
from certs.x509.certificate.profiles import EKU_NAMES, EKU_OIDS
from certs.x509.certificate.tbs import UnsignedCertificate, assemble
from certs.x509.dns_names import is_dns_name
from keys.spec import facts_of_spki

# BasicConstraints with cA FALSE written out, although it is the DEFAULT (X.690 11.5): OID 2.5.29.19, critical, 30 03 01 01 00
_EXPLICIT_FALSE = bytes.fromhex("0603551d130101ff04053003010100")
MIN_SERIAL_BITS = 64
SMALLEST_RSA = 2048


def lint(unsigned: UnsignedCertificate, *, issuer: x509.Certificate) -> list[str]:
    """Return every defect found. Only a TBSCertificate without defects is signed."""
    # Read back from the bytes that will be signed, not from what they were made of: a fault of the builder or the template
    # shows only there. The signature is a placeholder, which nothing here looks at.
    read = Reading(x509.load_der_x509_certificate(assemble(unsigned, b"\x00")), unsigned.tbs)
    parts = _parts(issuer)
    return [
        *_serial(read.serial_number),
        *_names(read),
        *_dates(read, parts),
        *_extensions(read, parts),
        *(["basicConstraints: cA FALSE is written out (X.690 11.5)"] if _EXPLICIT_FALSE in unsigned.tbs else []),
    ]


@dataclass(frozen=True, slots=True)
class _IssuerParts:
    """What every certificate of an issuer is compared with; read once, for pyca decodes it anew at each look."""

    subject: bytes
    spki: bytes
    key_identifier: bytes
    not_before: datetime
    not_after: datetime


@lru_cache(maxsize=64)
def _parts(issuer: x509.Certificate) -> _IssuerParts:
    # The identifier as it stands in the issuer's certificate, which a CA may have chosen freely (RFC 5280 4.2.1.2).
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    read = Reading(issuer, issuer.tbs_certificate_bytes)
    return _IssuerParts(read.subject_der, read.spki_der, ski, read.not_before, read.not_after)


def _serial(serial: int) -> list[str]:
    if not 0 < serial < 1 << 159:
        return ["serialNumber: must be positive and below 2^159 (RFC 5280 4.1.2.2)"]
    if serial.bit_length() < MIN_SERIAL_BITS:
        return ["serialNumber: fewer than 64 bits can be guessed"]
    return []


def _names(read: Reading) -> list[str]:
    extension = read.extensions.get(x509.SubjectAlternativeName.oid)
    if extension is None:
        return ["subjectAltName is missing"]
    wrong, names = [], read.names
    if not names:
        wrong.append("subjectAltName: no name")
    if len(set(names)) != len(names):
        wrong.append("subjectAltName: the same name twice")
    if any(isinstance(value, str) and value != value.lower() for _, value in names):
        wrong.append("subjectAltName: upper case")
    if extension.critical == bool(len(read.subject)):
        wrong.append("subjectAltName: critical if and only if the subject is empty (RFC 5280 4.2.1.6)")
    dns = [value for kind, value in names if kind is x509.DNSName]
    wrong += [f"subjectAltName: {name!r} is not a DNS name" for name in dns if not is_dns_name(name.lower())]
    if any(name not in dns and name not in [str(value) for kind, value in names if kind is x509.IPAddress] for name in read.common_names):
        wrong.append("subject: the common name is not among the names")
    return wrong


def _dates(read: Reading, issuer: _IssuerParts) -> list[str]:
    wrong = []
    # A path is valid while each certificate of it is (RFC 5280 6.1.3 (a) (2)): beyond its issuer's life a date means nothing.
    if read.not_before < issuer.not_before or read.not_after > issuer.not_after:
        wrong.append("validity: outside the issuer's")
    if read.not_after - read.not_before < timedelta(minutes=1):
        wrong.append("validity: ends before it begins; the issuer itself is about to expire")
    return wrong


def _addresses(read: Reading) -> list[str]:
    """Check that CRL, OCSP and CA addresses are plain http with a host (BR 7.1.2.11.2): to verify an https
    server a client needs a CRL first.
    """
    urls = [description.access_location.value for description in read.value(x509.AuthorityInformationAccess) or ()]
    urls += [name.value for point in read.value(x509.CRLDistributionPoints) or () for name in point.full_name or ()]
    return [f"address: {url!r} is not http://host/path" for url in urls if not re.fullmatch(r"http://[^/\s]+/\S*", url)]


def _key(read: Reading) -> list[str]:
    facts, usage = facts_of_spki(read.spki_der), read.value(x509.KeyUsage)
    purposes = set(read.value(x509.ExtendedKeyUsage))
    wrong = []
    if facts is None or (facts.family == "rsa" and facts.bits < SMALLEST_RSA):
        wrong.append("subjectPublicKeyInfo: a weak or unknown key")
    elif usage.key_encipherment and facts.family != "rsa":
        wrong.append("keyUsage: keyEncipherment is for RSA keys")
    elif usage.key_encipherment and EKU_OIDS["serverAuth"] not in purposes:
        wrong.append("keyUsage: keyEncipherment is for TLS servers (RFC 5280 4.2.1.12)")
    # The template fills the identifier in by hand; one of another key would hide the certificate from clients that build chains.
    if read.value(x509.SubjectKeyIdentifier).digest != key_identifier(read.spki_der):
        wrong.append("subjectKeyIdentifier: not that of the key")
    if purposes - set(EKU_NAMES):
        wrong.append("extendedKeyUsage: a purpose that no profile has")
    return wrong


_NEEDED = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)


def _extensions(read: Reading, issuer: _IssuerParts) -> list[str]:
    wrong = [f"{kind.__name__} is missing" for kind in _NEEDED if kind.oid not in read.extensions]
    if wrong:  # the checks below need all of them
        return wrong
    usage = read.value(x509.KeyUsage)
    if read.value(x509.AuthorityKeyIdentifier).key_identifier != issuer.key_identifier:
        wrong.append("authorityKeyIdentifier: not the issuer's subjectKeyIdentifier")
    if read.value(x509.BasicConstraints).ca or usage.key_cert_sign or usage.crl_sign:
        wrong.append("an end entity must not be able to sign certificates or CRLs")
    wrong += _addresses(read)
    wrong += _key(read)
    # Clients compare names octet by octet or after normalising them; the same octets are equal for all (RFC 5280 7.1).
    if read.issuer_der != issuer.subject:
        wrong.append("issuer: not the issuer's subject, byte for byte")
    # Whoever sends the CA's own key in a CSR does not get a certificate of the CA's key.
    if read.spki_der == issuer.spki:
        wrong.append("subjectPublicKeyInfo: the issuer's own key")
    return wrong
