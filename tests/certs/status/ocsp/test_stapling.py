"""What a web server staples, judged by openssl: nginx fetches the answers as it does in production."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.models import Certificate, Issuer
from certs.x509.asn1.pem import pem_of
from tests.certs.relying_parties import Files
from tests.faults.processes import free_port
from tests.harness.packages import nginx
from tests.portal.authority import issue, publish_everything, served
from tests.portal.commands import run
from tests.portal.fixtures import Portal

pytestmark = [pytest.mark.django_db(transaction=True)]

CONFIGURATION = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_trusted_certificate {folder}/trusted.pem;
        ssl_stapling on;
        ssl_stapling_verify on;
        ssl_stapling_responder {responder};
        return 200;
    }}
}}
"""


@contextlib.contextmanager
def stapling_server(
    folder: Path,
    certificate: Certificate,
    issuer: Issuer,
    key: ec.EllipticCurvePrivateKey,
    responder: str,
) -> Iterator[int]:
    assert issuer.parent is not None
    authority = pem_of(bytes(issuer.certificate_der or b""))
    root = pem_of(bytes(issuer.parent.certificate_der or b""))
    folder.mkdir()
    folder.chmod(0o755)  # its workers are another user when it is started as root
    (folder / "chain.pem").write_text(pem_of(bytes(certificate.body.der)) + authority)
    (folder / "trusted.pem").write_text(authority + root)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    port = free_port()
    text = CONFIGURATION.format(folder=folder, port=port, responder=responder)
    (folder / "nginx.conf").write_text(text)
    command = [str(nginx()), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            yield port
        finally:
            server.terminate()


def stapled(port: int, files: Files) -> str:
    """The certificate status in the handshake; "nothing" when none is stapled."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-CAfile", str(files.root)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"Cert Status: (\w+)", done.stdout)
    if found is None:
        return "nothing" if "no response sent" in done.stdout else "no connection"
    return found[1]


def seen(port: int, files: Files, *, until: str) -> str:
    """Handshakes until that is stapled; nginx fetches after the first. The last one's status."""
    end, status = time.monotonic() + 10, "no connection"
    while time.monotonic() < end and status != until:
        status = stapled(port, files)
        time.sleep(0.1)
    return status


def test_stapling_server_has_no_good_answer_of_a_distrusted_ca(portal: Portal, tmp_path: Path) -> None:
    """T5: the responder says revoked, with the CA's reason, and nginx staples nothing then."""
    key = ec.generate_private_key(ec.SECP256R1())
    (certificate,) = issue(portal, 1, keys=[key])
    issuer = publish_everything()
    files = Files.of(issuer, tmp_path)
    with served() as url:
        responder = f"{url}/pki/ocsp/{issuer.slug}"
        with stapling_server(tmp_path / "before", certificate, issuer, key, responder) as port:
            assert seen(port, files, until="good") == "good"
        code, _ = run("distrust_ca", issuer.name, "--reason", "cACompromise", "--yes")
        assert code == 0
        with stapling_server(tmp_path / "after", certificate, issuer, key, responder) as port:
            assert seen(port, files, until="nothing") == "nothing"
            log = tmp_path / "after" / "error.log"
            end = time.monotonic() + 10
            while "revoked" not in log.read_text() and time.monotonic() < end:
                time.sleep(0.1)
            assert 'certificate status "revoked" in the OCSP response' in log.read_text()
            assert stapled(port, files) == "nothing"
