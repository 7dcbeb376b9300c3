"""Issue rate of the whole pipeline in one process, beside a bare pyca loop that only verifies and signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from django.conf import settings

from audit.log import Actor
from bench.csrs import make_csr
from bench.machine import row, timed
from bench.portal import requester
from certs.ca.creation import ensure_own_ca
from certs.intake.spec import CertificateSpec
from certs.workflow.inline import issue_admitted
from certs.workflow.issuance import admit
from keys.spec import KeySpec

COUNT = {"ec-p256": 2000, "rsa-4096": 500}
BATCH = 500


def run() -> None:
    print(f"Certificates a second, one process, P-256 leaf keys, CSR brought, batches of {BATCH}, policy and audit on")
    for spec in (KeySpec.EC_P256, KeySpec.RSA_4096):
        _measure(spec)
    print()


def _measure(ca_key: KeySpec) -> None:
    count, name = COUNT[ca_key], f"Bench-{ca_key}"
    settings.CA_CLIENTS = {**settings.CA_CLIENTS, name: {"CLIENT": "certs.ca.local.LocalCAClient", "OPTIONS": {}}}
    ensure_own_ca(name=name, spec=ca_key, actor=Actor("command", "bench"), tell=lambda _line: None)
    csrs = [make_csr(f"r{number}.{ca_key}.example.com") for number in range(count)]
    bare = count / timed(lambda: [_bare(csr, BARE_KEYS[ca_key]) for csr, _, _ in csrs])
    specs = [CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=der, spki_der=spki) for der, spki, name in csrs]

    def pipeline() -> None:
        for first in range(0, count, BATCH):
            issue_admitted(admit(specs[first : first + BATCH], requester=requester(), issuer=f"Bench-{ca_key}"))

    full = count / timed(pipeline)
    row(f"CA key {ca_key.label}", f"portal {full:,.0f}", f"bare pyca loop {bare:,.0f}", f"ratio {full / bare:.2f}")


BARE_KEYS: dict[KeySpec, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    KeySpec.EC_P256: ec.generate_private_key(ec.SECP256R1()),
    KeySpec.RSA_4096: rsa.generate_private_key(65537, 4096),
}


def _bare(csr_der: bytes, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Verify, build with eight extensions, sign, encode: nothing else."""
    csr = x509.load_der_x509_csr(csr_der)
    if not csr.is_signature_valid:
        raise ValueError
    now = datetime.now(tz=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(csr.subject)
        .issuer_name(csr.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=90))
    )
    for extension, critical in _extensions(csr, key):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _extensions(
    csr: x509.CertificateSigningRequest, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> list[tuple[x509.ExtensionType, bool]]:
    url = x509.UniformResourceIdentifier("http://localhost/pki/x")
    access = [
        x509.AccessDescription(method, url) for method in (AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS)
    ]
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    return [
        (csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value, False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
        (x509.CRLDistributionPoints([x509.DistributionPoint([url], None, None, None)]), False),
        (x509.AuthorityInformationAccess(access), False),
    ]
