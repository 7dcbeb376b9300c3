"""What the machine allows without a framework: parse and verify a CSR in PEM, build and sign a certificate, parse it back for its
fields, COPY rows of 19 columns into PostgreSQL, 500 at once: one table with four indexes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

COPY_AT_ONCE = 500
TABLE = "bench_bare"
_CREATE = (
    f"CREATE TABLE {TABLE} (id bigserial PRIMARY KEY, serial text UNIQUE, subject text, common_name text, names text, issuer text, "
    "profile text, team int, requester text, owner_email text, key_type text, signature_algorithm text, spki text, "
    "fingerprint text UNIQUE, not_before timestamptz, not_after timestamptz, issued_at timestamptz, status text, der bytea, "
    "sealed_key bytea)"
)
_INDEX = f"CREATE INDEX ON {TABLE} (not_after)"
_COLUMNS = (
    "serial, subject, common_name, names, issuer, profile, team, requester, owner_email, key_type, signature_algorithm, spki, "
    "fingerprint, not_before, not_after, issued_at, status, der, sealed_key"
)


def rate(csrs: Sequence[tuple[bytes, bytes, str]], *, processes: int, makes_keys: bool = False) -> float:
    """Certificates a second over all processes, each with a connection of its own. `makes_keys`: for the same names, with a new key
    and a CSR of it each; the key is encrypted and stored beside the certificate.
    """
    url = os.environ["PKI_TEST_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
        connection.execute(_CREATE)
        connection.execute(_INDEX)
    asked = [name if makes_keys else x509.load_der_x509_csr(der).public_bytes(Encoding.PEM) for der, _, name in csrs]
    parts: list[list[Any]] = [asked[n::processes] for n in range(processes)]
    with get_context("spawn").Pool(processes) as pool:
        pool.map(_warm, range(processes))
        started = time.perf_counter()
        pool.starmap(_work, [(url, part) for part in parts])
        seconds = time.perf_counter() - started
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE {TABLE}")
    return len(csrs) / seconds


def _warm(_number: int) -> None:
    time.sleep(0.2)


def _work(url: str, asked: list[bytes | str]) -> None:
    """CSRs in PEM, or names that get a key each."""
    key, sealing = ec.generate_private_key(ec.SECP256R1()), AESGCM(AESGCM.generate_key(256))
    with psycopg.connect(url) as connection:
        for first in range(0, len(asked), COPY_AT_ONCE):
            made = [_with_key(one, sealing) if isinstance(one, str) else (one, b"") for one in asked[first : first + COPY_AT_ONCE]]
            rows = [_row(csr, key, sealed) for csr, sealed in made]
            with connection.cursor() as cursor, cursor.copy(f"COPY {TABLE} ({_COLUMNS}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            connection.commit()


def _with_key(name: str, sealing: AESGCM) -> tuple[bytes, bytes]:
    """A CSR in PEM and its private key, encrypted."""
    key, nonce = ec.generate_private_key(ec.SECP256R1()), os.urandom(12)
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False).sign(key, hashes.SHA256())
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return csr.public_bytes(Encoding.PEM), nonce + sealing.encrypt(nonce, plain, None)


def _row(csr_pem: bytes, key: Any, sealed: bytes) -> tuple[Any, ...]:
    der = _issue(x509.load_pem_x509_csr(csr_pem), key)
    parsed = x509.load_der_x509_certificate(der)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    subject, issuer = parsed.subject.rfc4514_string(), parsed.issuer.rfc4514_string()
    spki = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    who = (subject, names[0], ",".join(names), issuer, "tls-server", 1, "bench", "bench@example.com")
    what = ("ec-p256", parsed.signature_algorithm_oid.dotted_string, hashlib.sha256(spki).hexdigest(), hashlib.sha256(der).hexdigest())
    when = (parsed.not_valid_before_utc, parsed.not_valid_after_utc, datetime.now(tz=UTC))
    return (f"{parsed.serial_number:x}", *who, *what, *when, "good", der, sealed)


def certificate(csr_der: bytes, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Verify, build with eight extensions, sign, encode: nothing else."""
    return _issue(x509.load_der_x509_csr(csr_der), key)


def _issue(csr: x509.CertificateSigningRequest, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
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
