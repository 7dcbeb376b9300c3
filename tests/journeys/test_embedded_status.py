"""CRL and OCSP of the embedded default, as served by `manage.py up`, and a revocation that becomes visible in both by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certs.relying_parties import run
from tests.journeys.test_embedded import ROOT, Home

LIMIT = 60.0  # seconds; it takes a few


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("home"))
    code, _, err = made.run("bootstrap")
    assert code == 0, err
    return made


@pytest.fixture(scope="module")
def url(home: Home) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PKI_", "DJANGO_"))}
    command: list[str | Path] = [sys.executable, ROOT / "manage.py", "up", "--port", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env={**env, "PKI_HOME": str(home.folder)}, stdout=quiet, stderr=quiet) as server:
        address = f"http://127.0.0.1:{port}"
        assert _within(lambda: _get(f"{address}/healthz") is not None)
        yield address
        server.send_signal(signal.SIGTERM)


def _within(condition: Callable[[], bool]) -> bool:
    """Ask again and again until it holds, or time is up."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


def _get(address: str) -> bytes | None:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError):
        return None


def test_revocation_is_seen_in_ocsp_at_once_and_in_the_crl_within_seconds(home: Home, url: str, tmp_path: Path) -> None:
    code, told = home.json("issue", "Certificate for status.example.com, P-256, 30 days")
    assert code == 0, told
    leaf, issuer, root = (tmp_path / f"{name}.pem" for name in ("leaf", "issuer", "root"))
    leaf.write_text(told["certificate"])
    for file, slug in ((issuer, "internal-ca-prod"), (root, "internal-ca-prod-root")):
        der = _get(f"{url}/pki/ca/{slug}.crt")
        assert der is not None
        file.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))

    def said() -> str:
        trust = ["-CAfile", str(root), "-verify_other", str(issuer), "-url", f"{url}/pki/ocsp/internal-ca-prod"]
        done = run("openssl", "ocsp", "-issuer", issuer, "-cert", leaf, *trust)
        assert "Response verify OK" in done.stdout + done.stderr, done.stderr
        return done.stdout.split(": ", 1)[1].split("\n", 1)[0]

    assert said() == "good"
    assert told["serial_number"] not in _revoked(url)
    assert home.json("revoke", told["cert_id"], "--reason", "keyCompromise")[0] == 0
    assert said() == "revoked"
    assert _within(lambda: told["serial_number"] in _revoked(url))
    root_crl = _get(f"{url}/pki/crl/internal-ca-prod-root.crl")
    assert root_crl is not None
    assert len(x509.load_der_x509_crl(root_crl)) == 0


def _revoked(url: str) -> list[str]:
    """Serial numbers on the public CRL, as the portal writes them."""
    body = _get(f"{url}/pki/crl/internal-ca-prod.crl")
    assert body is not None
    numbers = [entry.serial_number for entry in x509.load_der_x509_crl(body)]
    return [number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":").upper() for number in numbers]


def test_status_commands_on_the_embedded_default(home: Home, tmp_path: Path) -> None:
    code, told = home.json("publish_crl", "--output", str(tmp_path / "ca.crl"))
    assert (code, told["crls"][0]["issuer"]) == (0, "Internal-CA-Prod")
    assert x509.load_der_x509_crl((tmp_path / "ca.crl").read_bytes()).next_update_utc is not None
    code, told = home.json("reconcile_status")
    assert (code, told["success"]) == (0, True), told
    assert home.json("reconcile_ca")[0] == 0
