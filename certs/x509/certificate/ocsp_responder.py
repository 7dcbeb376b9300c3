"""The certificate of a delegated OCSP responder (RFC 6960 4.2.2.2). Pure.

It carries id-pkix-ocsp-nocheck, so no client checks whether it is revoked itself: that is why it is valid for days only, and has no
addresses (RFC 6960 4.2.2.2.1).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.x509.certificate.profiles import Profile
from certs.x509.certificate.tbs import UnsignedCertificate, assemble, unsigned_by

LONGEST_LIFE = timedelta(days=7)
_USAGE = Profile("ocsp-responder", ()).key_usage("ec")


def build_responder_tbs(
    *, issuer: x509.Certificate, spki_der: bytes, common_name: str, serial: int, not_before: datetime, not_after: datetime
) -> UnsignedCertificate:
    """Return the TBSCertificate; `not_after` is the last second of validity."""
    public_key: Any = load_der_public_key(spki_der)
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    # OCSPSigning is its only purpose: a stolen responder key can say "good" for a week, and sign no certificate.
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
    )
    return unsigned_by(builder, issuer.public_key())


def lint_responder(unsigned: UnsignedCertificate, *, issuer: x509.Certificate) -> list[str]:
    """Return what is wrong with a responder's TBS before it is signed, read back from its bytes."""
    certificate = x509.load_der_x509_certificate(assemble(unsigned, b"\x00"))
    values: dict[Any, Any] = {extension.oid: extension.value for extension in certificate.extensions}
    # Nobody can revoke it effectively (nocheck), so its life is the limit of what a stolen key can do.
    wrong = []
    if certificate.not_valid_after_utc - certificate.not_valid_before_utc >= LONGEST_LIFE:
        wrong.append("validity: longer than 7 days")
    if certificate.not_valid_before_utc < issuer.not_valid_before_utc or certificate.not_valid_after_utc > issuer.not_valid_after_utc:
        wrong.append("validity: outside the issuer's")
    if certificate.not_valid_after_utc <= certificate.not_valid_before_utc:
        wrong.append("validity: ends before it begins; the issuer itself is about to expire")
    if x509.OCSPNoCheck.oid not in values:
        wrong.append("id-pkix-ocsp-nocheck is missing")
    if list(values[x509.ExtendedKeyUsage.oid]) != [ExtendedKeyUsageOID.OCSP_SIGNING]:
        wrong.append("extendedKeyUsage: not OCSPSigning alone")
    usage = values[x509.KeyUsage.oid]
    if values[x509.BasicConstraints.oid].ca or usage.key_cert_sign or usage.crl_sign or not usage.digital_signature:
        wrong.append("keyUsage: not digitalSignature alone")
    if x509.SubjectAlternativeName.oid in values:
        wrong.append("subjectAltName: a responder has no names")
    if not 0 < certificate.serial_number < 1 << 159 or certificate.serial_number.bit_length() < 64:
        wrong.append("serialNumber: must be positive, below 2^159 and of at least 64 bits")
    if certificate.issuer.public_bytes() != issuer.subject.public_bytes():
        wrong.append("issuer: not the issuer's subject, byte for byte")
    return wrong
