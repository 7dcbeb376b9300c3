"""The files of a certificate and the keystore commands, with the real OpenSSL and keytool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from certs.inventory.download import FORMS, content_of, file_stem
from certs.inventory.keystores import jks_command, pkcs12_command, truststore_command
from certs.models import Certificate
from certs.requests.submit import Requester
from tests.certs.life import PORTAL, brought, issued

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "changeit"


@pytest.fixture
def folder(twin_portal: Requester, tmp_path: Path) -> tuple[Path, Certificate, str]:
    """What a requester has: the key and the files of the portal."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issued(brought("shop.example.com", key=key), twin_portal)
    stem = file_stem(certificate)
    (tmp_path / f"{stem}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for form in FORMS:
        content, _ = content_of(certificate, form, authority=PORTAL)
        (tmp_path / f"{stem}-{form}").write_bytes(content)
    return tmp_path, certificate, stem


def run(command: str, folder: Path, *options: str) -> str:
    end = ")" if command.endswith(")") else ""
    command = " ".join((command.removesuffix(end), *options)) + end
    done = subprocess.run(["bash", "-ec", command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def test_pkcs12_holds_key_certificate_and_chain(folder: tuple[Path, Certificate, str]) -> None:
    where, certificate, stem = folder
    run(pkcs12_command(stem), where, f"-passout pass:{PASSWORD}")
    store = pkcs12.load_pkcs12((where / f"{stem}.p12").read_bytes(), PASSWORD.encode())
    assert store.key is not None
    assert store.cert is not None
    assert store.cert.certificate.public_bytes(Encoding.DER) == bytes(certificate.body.der)
    assert len(store.additional_certs) >= 1
    assert (where / f"{stem}.p12").stat().st_mode & 0o77 == 0


def test_keytool_reads_the_keystores(folder: tuple[Path, Certificate, str]) -> None:
    where, _, stem = folder
    if shutil.which("keytool") is None:
        pytest.skip("keytool is not installed")
    run(pkcs12_command(stem), where, f"-passout pass:{PASSWORD}")
    run(jks_command(stem), where, f"-srcstorepass {PASSWORD} -deststorepass {PASSWORD}")
    assert "PrivateKeyEntry" in run(f"keytool -list -keystore {stem}.jks -storepass {PASSWORD}", where)
    assert (where / f"{stem}.jks").stat().st_mode & 0o77 == 0  # it has the private key
    run(truststore_command(stem), where, f"-storepass {PASSWORD}")
    assert "trustedCertEntry" in run(f"keytool -list -keystore truststore.p12 -storepass {PASSWORD}", where)


def test_pkcs7_is_read_by_openssl_and_holds_no_root(folder: tuple[Path, Certificate, str]) -> None:
    where, _, stem = folder
    found = run(f"openssl pkcs7 -print_certs -noout -in {stem}-chain.p7b", where)
    fullchain = (where / f"{stem}-fullchain.pem").read_text()
    assert found.count("subject=") == fullchain.count("BEGIN CERTIFICATE")


def test_file_names_need_no_quoting(folder: tuple[Path, Certificate, str]) -> None:
    _, certificate, stem = folder
    assert stem == "shop.example.com"
    certificate.common_name = "*.a b;$(x)/ü.example.com"
    assert file_stem(certificate) == "wildcard.a_b___x___.example.com"
    certificate.common_name = ""
    certificate.request.dns_names = [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example.com"]
    assert len(file_stem(certificate)) == 120
