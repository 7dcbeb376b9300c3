"""Is a certificate sound? Asked of three programs that did not make it: pyca's verifier, OpenSSL, pkilint."""

from __future__ import annotations

import subprocess
import tempfile
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from pkilint import loader
from pkilint.bin import lint_pkix_signer_signee_cert_chain as chain_linter
from pkilint.pkix import certificate, extension, name
from pkilint.validation import ValidationFindingSeverity

from certs.x509.dns_names import parse_ip_address

ML_DSA = (mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey)


def assert_certificate_is_sound(leaf_der: bytes, chain_der: tuple[bytes, ...], hostname: str, *, at: datetime) -> None:
    """`chain_der` runs from the leaf's issuer to the root. Fails naming what was found.

    pyca's verifier knows the web's algorithms alone and refuses issuers with Ed25519 keys; OpenSSL 3.0 knows no ML-DSA.
    What one of them cannot judge is left to the others.
    """
    leaf = x509.load_der_x509_certificate(leaf_der)
    chain = [x509.load_der_x509_certificate(der) for der in chain_der]
    if not any(isinstance(link.public_key(), ed25519.Ed25519PublicKey) for link in chain):
        _pyca_verifies(leaf, chain, hostname, at)
    if not isinstance(leaf.public_key(), ML_DSA):
        with tempfile.TemporaryDirectory() as folder:
            _openssl_verifies(_written(Path(folder), [leaf, *chain]), hostname, at)
    assert lint_findings(leaf_der, chain_der[0]) == []


def _written(folder: Path, certificates: list[x509.Certificate]) -> list[Path]:
    files = [folder / f"{number}.pem" for number in range(len(certificates))]
    for file, one in zip(files, certificates, strict=True):
        file.write_bytes(one.public_bytes(Encoding.PEM))
    return files


def _is_of_a_client(leaf: x509.Certificate) -> bool:
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return ExtendedKeyUsageOID.SERVER_AUTH not in usages


def _pyca_verifies(leaf: x509.Certificate, chain: list[x509.Certificate], hostname: str, at: datetime) -> None:
    builder = PolicyBuilder().store(Store([chain[-1]])).time(at)
    if _is_of_a_client(leaf):
        verified = builder.build_client_verifier().verify(leaf, chain[:-1])
        assert len(verified.chain) == 1 + len(chain)
        assert _general_name(hostname) in (verified.subjects or [])
        return
    verifier = builder.build_server_verifier(_general_name(hostname))
    assert len(verifier.verify(leaf, chain[:-1])) == 1 + len(chain)


def _general_name(host: str) -> x509.DNSName | x509.IPAddress:
    address = parse_ip_address(host)
    return x509.DNSName(host) if address is None else x509.IPAddress(ip_address(address))


def _openssl_verifies(files: list[Path], hostname: str, at: datetime) -> None:
    purpose = "sslclient" if _is_of_a_client(x509.load_pem_x509_certificate(files[0].read_bytes())) else "sslserver"
    command = ["openssl", "verify", "-x509_strict", "-auth_level", "2", "-purpose", purpose, _option(hostname), hostname]
    command += ["-attime", str(int(at.timestamp())), "-CAfile", str(files[-1])]
    for file in files[1:-1]:
        command += ["-untrusted", str(file)]
    done = subprocess.run([*command, str(files[0])], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout.strip()) == (0, f"{files[0]}: OK"), done.stderr


def _option(host: str) -> str:
    return "-verify_hostname" if parse_ip_address(host) is None else "-verify_ip"


def lint_findings(leaf_der: bytes, issuer_der: bytes) -> list[str]:
    """What pkilint's `lint_pkix_cert` and `lint_pkix_signer_signee_cert_chain` say from WARNING on, run in this process.

    A wildcard is no domain name to RFC 5280; that pkilint says so is known.
    """
    load = loader.RFC5280CertificateDocumentLoader().load_der_document
    pair: dict[str, Any] = {}
    pair["issuer"] = load(issuer_der, "issuer", "issuer", pair)
    pair["subject"] = load(leaf_der, "subject", "subject", pair)
    decoders = chain_linter.create_decoder_validation_container()
    results = [
        *_certificate_validators().validate(load(leaf_der, "leaf").root),
        *decoders.validate(pair["issuer"].root),
        *decoders.validate(pair["subject"].root),
        *chain_linter.create_issuer_validation_container().validate(pair["issuer"].root),
        *chain_linter.create_subject_validation_container().validate(pair["subject"].root),
    ]
    found = [
        f"{described.finding.code} {described.message or ''} at {result.node.path}"
        for result in results
        for described in result.finding_descriptions
        if described.finding.severity <= ValidationFindingSeverity.WARNING
    ]
    return [finding for finding in found if not ("invalid_domain_name_syntax" in finding and '"*.' in finding)]


def _certificate_validators() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
