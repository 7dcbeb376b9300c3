"""A root, an intermediate and a server certificate whose key the composed command made."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.servers.commands import CSRContent, compose
from certs.servers.files import FileNames
from certs.servers.kinds import Tool

NAMES = ("shop.example.com", "www.example.com")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class TestCA:
    """A root and an intermediate of it, which signs."""

    __test__ = False

    root: x509.Certificate
    intermediate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def sign(self, csr: x509.CertificateSigningRequest, *, usage: x509.ObjectIdentifier) -> list[x509.Certificate]:
        """The certificate and its intermediate."""
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = _builder(csr.subject, self.intermediate.subject, csr.public_key(), ca=False)
        builder = builder.add_extension(san, critical=False).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return [builder.sign(self.key, hashes.SHA256()), self.intermediate]


def _builder(subject: x509.Name, issuer: x509.Name, key: object, *, ca: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - _DAY, now + _DAY)  # type: ignore[arg-type]
    return builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@pytest.fixture(scope="session")
def test_ca() -> TestCA:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root, intermediate = _name("Test root"), _name("Test intermediate")
    return TestCA(
        _builder(root, root, root_key.public_key(), ca=True).sign(root_key, hashes.SHA256()),
        _builder(intermediate, root, key.public_key(), ca=True).sign(root_key, hashes.SHA256()),
        key,
    )


def pem(certificates: list[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


@pytest.fixture
def downloads(test_ca: TestCA, tmp_path: Path) -> Callable[..., Path]:
    """A folder as the requester has it: the key from the composed command, the files from the portal."""

    def made(usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH) -> Path:
        folder, files = tmp_path / "downloads", FileNames.of(NAMES)
        folder.mkdir()
        command = compose(Tool.OPENSSL, CSRContent(NAMES, "ec-p256"))
        subprocess.run(["bash", "-euc", command], cwd=folder, check=True, capture_output=True)
        csr = x509.load_pem_x509_csr((folder / files.csr).read_bytes())
        (folder / files.fullchain).write_bytes(pem(test_ca.sign(csr, usage=usage)))
        (folder / files.root).write_bytes(pem([test_ca.root]))
        return folder

    return made
