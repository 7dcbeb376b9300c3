"""Certificates: their TBS bytes before anybody signs, and their assembly afterwards. Pure.

The TBS comes from pyca's own builder, run with a key that records what it is asked to sign. So what is stored, linted and
signed are the same bytes, and no ASN.1 is written by hand but the three fields around them.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certs.x509.asn1.writer import der_length
from certs.x509.certificate.profiles import Profile
from certs.x509.certificate.serial import new_serial
from db.tolerance import CLOCK_TOLERANCE
from keys.signing import signing_hash
from keys.spec import facts_of


class UnsignedCertificate(NamedTuple):
    """TBSCertificate and AlgorithmIdentifier (RFC 5280 4.1), both in DER."""

    tbs: bytes
    signature_algorithm_der: bytes


def _refuse(*_args: Any, **_kwargs: Any) -> Any:
    raise TypeError("this key only records what it is asked to sign")


def _recorder(base: type, public_key: Any, placeholder: bytes) -> Any:
    """Return a private key object of the issuer's kind whose `sign` returns a placeholder: pyca's
    builder then encodes the TBS.
    """
    # Every other operation is refused: this key must never be taken for one that signs.
    members: dict[str, Any] = dict.fromkeys(base.__abstractmethods__, _refuse)  # type: ignore[attr-defined]
    members |= {"public_key": lambda self: public_key, "sign": lambda self, *a, **k: placeholder}
    for name in ("key_size", "curve"):
        if hasattr(public_key, name):
            members[name] = property(lambda _self, name=name: getattr(public_key, name))  # type: ignore[misc]
    return type("RecordingKey", (base,), members)()


@lru_cache(maxsize=64)
def _recording_key(spki_der: bytes) -> Any:
    public_key = load_der_public_key(spki_der)
    kinds: tuple[tuple[type, type], ...] = (
        (rsa.RSAPublicKey, rsa.RSAPrivateKey),
        (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey),
        (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
        (mldsa.MLDSA44PublicKey, mldsa.MLDSA44PrivateKey),
        (mldsa.MLDSA65PublicKey, mldsa.MLDSA65PrivateKey),
        (mldsa.MLDSA87PublicKey, mldsa.MLDSA87PrivateKey),
    )
    for public_kind, private_kind in kinds:
        if isinstance(public_key, public_kind):
            return _recorder(private_kind, public_key, b"\x00")
    raise TypeError(f"an issuer's key cannot be {type(public_key).__name__}")


@lru_cache(maxsize=256)
def _shared_extensions(profile: Profile, issuer_der: bytes, crl_url: str, ocsp_url: str, ca_issuers_url: str) -> tuple[Any, ...]:
    """Return what every certificate of a profile and issuer has: made once, because it would be 40 % of each build."""
    issuer = x509.load_der_x509_certificate(issuer_der)
    try:
        ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        aki = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    except x509.ExtensionNotFound:
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    uri = x509.UniformResourceIdentifier
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri(ocsp_url)),
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri(ca_issuers_url)),
    ]
    points = [x509.DistributionPoint([uri(crl_url)], None, None, None)]
    return aki, profile.extended_key_usage(), x509.CRLDistributionPoints(points), x509.AuthorityInformationAccess(access), issuer.subject


def build_tbs(
    *,
    profile: Profile,
    issuer: x509.Certificate,
    spki_der: bytes,
    common_name: str,
    dns_names: tuple[str, ...],
    ip_addresses: tuple[str, ...],
    organization: str,
    serial: int,
    not_before: datetime,
    not_after: datetime,
    crl_url: str,
    ocsp_url: str,
    ca_issuers_url: str,
) -> UnsignedCertificate:
    """Return the TBSCertificate of an end entity. `not_after` is the last second of validity (RFC 5280 4.1.2.5: inclusive).

    The SAN is critical exactly when the subject is empty (RFC 5280 4.2.1.6). A common name longer than 64 characters
    (ub-common-name) stays out of the subject; it is among the names anyway.
    """
    public_key: Any = load_der_public_key(spki_der)
    facts = facts_of(public_key)
    if facts is None:
        raise ValueError("no certificate is made for this kind of key")
    issuer_der = issuer.public_bytes(Encoding.DER)
    aki, eku, crl_points, access, issuer_name = _shared_extensions(profile, issuer_der, crl_url, ocsp_url, ca_issuers_url)
    subject = _subject(common_name, organization)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(profile.key_usage(facts.family), critical=True)
        .add_extension(eku, critical=False)
        .add_extension(general_names(dns_names, ip_addresses), critical=not list(subject))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(aki, critical=False)
        .add_extension(crl_points, critical=False)
        .add_extension(access, critical=False)
    )
    return unsigned_by(builder, issuer.public_key())


def unsigned_by(builder: x509.CertificateBuilder, issuer_key: Any) -> UnsignedCertificate:
    """Return what pyca's builder would have that issuer's key sign."""
    recorder = _recording_key(issuer_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    # The placeholder is no signature of any key: should such a certificate ever leave the process, nobody accepts it.
    made = builder.sign(recorder, signing_hash(issuer_key))
    return UnsignedCertificate(made.tbs_certificate_bytes, _algorithm_of(made.public_bytes(Encoding.DER), made.tbs_certificate_bytes))


def general_names(dns_names: tuple[str, ...], ip_addresses: tuple[str, ...]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    return x509.SubjectAlternativeName(names + [x509.IPAddress(ipaddress.ip_address(text)) for text in ip_addresses])


def _subject(common_name: str, organization: str) -> x509.Name:
    # Beyond ub-common-name (64, RFC 5280 A.1) strict clients refuse the certificate; the name is in the SAN anyway.
    parts = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name if len(common_name) <= 64 else "")]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text])


def assemble(unsigned: UnsignedCertificate, signature: bytes) -> bytes:
    """Return Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue } (RFC 5280 4.1), in DER."""
    bits = b"\x00" + signature
    body = unsigned.tbs + unsigned.signature_algorithm_der + b"\x03" + der_length(len(bits)) + bits
    return b"\x30" + der_length(len(body)) + body


def _algorithm_of(certificate_der: bytes, tbs: bytes) -> bytes:
    """Return the octets of the AlgorithmIdentifier, between the TBS and the placeholder signature."""
    # Every AlgorithmIdentifier that pyca writes is short: one octet of length. Another one would be cut off without this check.
    start = certificate_der.index(tbs) + len(tbs)
    length = certificate_der[start + 1]
    if length >= 0x80:
        raise ValueError("a signature AlgorithmIdentifier longer than 127 octets")
    return certificate_der[start : start + 2 + length]


def build_root(private_key: Any, *, name: str, now: datetime, years: int, organization: str = "") -> bytes:
    """Return a self-signed root (RFC 5280 4.2.1.9: cA TRUE without a path length), in DER."""
    public_key = private_key.public_key()
    subject = _subject(name, organization)
    builder = _ca_builder(subject, public_key, now, years).issuer_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return _signed(builder, private_key)


def build_issuing_ca(
    root_key: Any,
    root: x509.Certificate,
    public_key: Any,
    *,
    name: str,
    now: datetime,
    years: int,
    crl_url: str = "",
    ca_issuers_url: str = "",
    permitted_domains: tuple[str, ...] = (),
) -> bytes:
    """Return an issuing CA beneath a root, of the root's organization: path length 0.

    Name constraints where its owner wants them (RFC 5280 4.2.1.10).
    """
    # It ends no later than its root, and signs no CA (path length 0): whoever takes it over can make end entities only.
    subject = _subject(name, _organization_of(root))
    builder = _ca_builder(subject, public_key, now, years, latest=root.not_valid_after_utc).issuer_name(root.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ski = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
    uri = x509.UniformResourceIdentifier
    if crl_url:
        builder = builder.add_extension(
            x509.CRLDistributionPoints([x509.DistributionPoint([uri(crl_url)], None, None, None)]), critical=False
        )
    if ca_issuers_url:
        description = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, uri(ca_issuers_url))
        builder = builder.add_extension(x509.AuthorityInformationAccess([description]), critical=False)
    # Critical (RFC 5280 4.2.1.10): a client that does not know name constraints must refuse, not ignore them.
    if permitted_domains:
        constraints = x509.NameConstraints([x509.DNSName(domain) for domain in permitted_domains], None)
        builder = builder.add_extension(constraints, critical=True)
    return _signed(builder, root_key)


def _organization_of(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else ""


def _ca_builder(subject: x509.Name, public_key: Any, now: datetime, years: int, latest: datetime | None = None) -> x509.CertificateBuilder:
    # Back-dated for relying parties whose clock is behind. Both ends belong to the validity, hence the second less.
    start = (now - CLOCK_TOLERANCE).replace(microsecond=0)
    end = start + timedelta(days=365 * years) - timedelta(seconds=1)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(new_serial())
        .not_valid_before(start)
        .not_valid_after(min(end, latest) if latest else end)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, private_key: Any) -> bytes:
    return builder.sign(private_key, signing_hash(private_key.public_key())).public_bytes(Encoding.DER)
