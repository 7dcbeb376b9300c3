"""The proxy as it is shipped (`deploy/nginx/nginx.conf`), on loopback ports and in a folder of the test's own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.faults.processes import free_port
from tests.harness.packages import nginx

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "nginx.conf"
SERVICES = ("web", "ca-api", "status")


def written(folder: Path, addresses: Mapping[str, int], *, host: str, plain: int, tls: int) -> Path:
    """The shipped template with its variable put in, and nothing changed but addresses and paths.

    `resolve` goes with the names: this nginx may be older than 1.27.3, and an address needs no look-up.
    """
    text = CONFIGURATION.read_text().replace("${PKI_PORTAL_HOST}", host)
    for service, port in addresses.items():
        text = text.replace(f"server {service}:8000 resolve;", f"server 127.0.0.1:{port};")
    text = text.replace("listen 80 ", f"listen 127.0.0.1:{plain} ").replace("listen 443 ", f"listen 127.0.0.1:{tls} ")
    text = text.replace("/tmp/", f"{folder}/").replace("/run/secrets/", f"{folder}/")
    file = folder / "nginx.conf"
    file.write_text(text)
    return file


@contextlib.contextmanager
def proxied(folder: Path, *, services: int | Mapping[str, int], host: str = "127.0.0.1") -> Iterator[tuple[int, int]]:
    """Nginx before the services: a port of each, or one port of all three. Yields its ports for plain HTTP and for TLS."""
    addresses = dict.fromkeys(SERVICES, services) if isinstance(services, int) else services
    plain, tls = free_port(), free_port()
    folder.chmod(0o755)  # its workers are another user when it is started as root
    certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}"]
    files = ["-keyout", str(folder / "tls_key"), "-out", str(folder / "tls_certificate")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    command = [str(nginx()), "-p", str(folder), "-c", str(written(folder, addresses, host=host, plain=plain, tls=tls)), "-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as proxy:
        try:
            _wait(plain, proxy, folder / "nginx.log")
            yield plain, tls
        finally:
            proxy.terminate()


def _wait(port: int, proxy: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while proxy.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nginx did not come up: {log.read_text()}")
