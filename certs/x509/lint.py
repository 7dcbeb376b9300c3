"""Our own linter, run over the TBS before anything is signed: the defects that no other tool sees, and the house's promises. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.x509.certificate import UnsignedCertificate, assemble

# BasicConstraints with cA FALSE written out, although it is the DEFAULT (X.690 11.5): OID 2.5.29.19, critical, 30 03 01 01 00
_EXPLICIT_FALSE = bytes.fromhex("0603551d130101ff04053003010100")
MIN_SERIAL_BITS = 64


def lint(unsigned: UnsignedCertificate, *, issuer: x509.Certificate) -> list[str]:
    """Every defect found; an empty list lets the TBS be signed."""
    certificate = x509.load_der_x509_certificate(assemble(unsigned, b"\x00"))
    return [
        *_serial(certificate),
        *_names(certificate),
        *_dates(certificate, issuer),
        *_extensions(certificate, issuer),
        *(["basicConstraints: cA FALSE is written out (X.690 11.5)"] if _EXPLICIT_FALSE in unsigned.tbs else []),
    ]


def _serial(certificate: x509.Certificate) -> list[str]:
    serial = certificate.serial_number
    if not 0 < serial < 1 << 159:
        return ["serialNumber: must be positive and below 2^159 (RFC 5280 4.1.2.2)"]
    if serial.bit_length() < MIN_SERIAL_BITS:
        return ["serialNumber: fewer than 64 bits can be guessed"]
    return []


def _names(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    wrong = []
    names = [(type(name), name.value) for name in extension.value]
    if not names:
        wrong.append("subjectAltName: no name")
    if len(set(names)) != len(names):
        wrong.append("subjectAltName: the same name twice")
    if any(isinstance(value, str) and value != value.lower() for _, value in names):
        wrong.append("subjectAltName: upper case")
    if extension.critical == bool(list(certificate.subject)):
        wrong.append("subjectAltName: critical if and only if the subject is empty (RFC 5280 4.2.1.6)")
    dns = extension.value.get_values_for_type(x509.DNSName)
    common = [str(a.value) for a in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if any(name not in dns and name not in map(str, extension.value.get_values_for_type(x509.IPAddress)) for name in common):
        wrong.append("subject: the common name is not among the names")
    return wrong


def _dates(certificate: x509.Certificate, issuer: x509.Certificate) -> list[str]:
    wrong = []
    if certificate.not_valid_before_utc < issuer.not_valid_before_utc or certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        wrong.append("validity: outside the issuer's")
    if certificate.not_valid_after_utc - certificate.not_valid_before_utc < timedelta(minutes=1):
        wrong.append("validity: ends before it begins; the issuer itself is about to expire")
    return wrong


def _extensions(certificate: x509.Certificate, issuer: x509.Certificate) -> list[str]:
    values: dict[Any, Any] = {extension.oid: extension.value for extension in certificate.extensions}
    wrong = [
        f"{kind.__name__} is missing"
        for kind in (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
        if kind.oid not in values
    ]
    if wrong:
        return wrong
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    if values[x509.AuthorityKeyIdentifier.oid].key_identifier != ski:
        wrong.append("authorityKeyIdentifier: not the issuer's subjectKeyIdentifier")
    if values[x509.BasicConstraints.oid].ca or values[x509.KeyUsage.oid].key_cert_sign or values[x509.KeyUsage.oid].crl_sign:
        wrong.append("an end entity must not be able to sign certificates or CRLs")
    if certificate.issuer.public_bytes() != issuer.subject.public_bytes():
        wrong.append("issuer: not the issuer's subject, byte for byte")
    if certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == issuer.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        wrong.append("subjectPublicKeyInfo: the issuer's own key")
    return wrong
