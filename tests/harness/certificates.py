"""A private CA and a server certificate for 127.0.0.1 and localhost, made with the openssl command (no library is installed yet)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.harness.processes import run_tool

_P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CA_EXTENSIONS = ("basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign")
_SERVER_EXTENSIONS = (
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=serverAuth",
    "subjectAltName=IP:127.0.0.1,DNS:localhost",
)


@dataclass(frozen=True)
class ServerCertificate:
    ca: Path
    certificate: Path
    key: Path


def make_server_certificate(folder: Path) -> ServerCertificate:
    """Valid for 7 days. The CA's key is deleted once it has signed: nobody needs it again."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
    made = ServerCertificate(ca, folder / "server.pem", folder / "server-key.pem")
    request: list[str | Path] = ["openssl", "req", "-x509", "-config", "/dev/null", *_P256, "-days", "7"]
    run_tool([*request, "-subj", "/CN=PKI Portal test CA", "-keyout", ca_key, "-out", ca, *_added(_CA_EXTENSIONS)])
    signed: list[str | Path] = ["-CA", ca, "-CAkey", ca_key, "-keyout", made.key, "-out", made.certificate]
    run_tool([*request, "-subj", "/CN=localhost", *signed, *_added(_SERVER_EXTENSIONS)])
    ca_key.unlink()
    return made


def _added(extensions: tuple[str, ...]) -> list[str]:
    return [part for extension in extensions for part in ("-addext", extension)]
