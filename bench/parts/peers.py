"""step-ca and Vault's PKI engine in the same run, asked as the part `http` asks the portal.

Raw-socket clients, each a process with a keep-alive connection, with requests that were prepared
before the clock starts; P-256 for CA and leaf. step-ca is taken from PKI_BENCH_STEP_CA or PATH, or
built from its Go module once; what cannot be had is left out with the reason.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.csrs import make_csr
from bench.machine import row
from certs.x509.certificate.tbs import build_issuing_ca, build_root
from tests.harness.vault_build import usable_go

SECONDS = int(os.environ.get("PKI_BENCH_SECONDS", "8"))
CLIENTS = (1, 4)
MOST_A_SECOND = 2_000  # requests prepared for each client and second
STEP_CA = "github.com/smallstep/certificates/cmd/step-ca@v0.30.2"
Body = Callable[[str], str]


def run() -> None:
    print(f"Peers, P-256 CA and leaf, raw-socket clients with prepared requests, {SECONDS} s each")
    _vault()
    _step()
    print()


def _measure(label: str, host: str, port: int, ca_file: str, head: str, body: Body) -> None:
    for clients in CLIENTS:
        processes = get_context("spawn")
        with processes.Pool(clients, initializer=_begin, initargs=(processes.Barrier(clients),)) as pool:
            work = [(host, port, ca_file, head, body, f"{uuid.uuid4().hex[:8]}-{n}") for n in range(clients)]
            rate = sum(pool.starmap(_client, work, chunksize=1))
        row(f"{label}, {clients} client(s)", f"{rate:,.0f} a second")


_barriers: list[Any] = []  # in a client process


def _begin(barrier: Any) -> None:
    _barriers.append(barrier)


def _client(host: str, port: int, ca_file: str, head: str, body: Body, prefix: str) -> float:
    """Return certificates a second over one connection. Fails on every answer but 200 and 201."""
    context = ssl.create_default_context(cafile=ca_file)
    texts = [body(f"{prefix}-{n}.example.com") for n in range(SECONDS * MOST_A_SECOND)]
    prepared = [f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode() for text in texts]
    for barrier in _barriers:
        barrier.wait(600)
    done = 0
    with socket.create_connection((host, port), timeout=30) as plain, context.wrap_socket(plain, server_hostname=host) as connection:
        started = time.monotonic()
        for request in prepared:
            connection.sendall(request)
            answer = _answer(connection)
            if not answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")):
                raise RuntimeError(f"{answer[:600]!r}")
            done += 1
            if time.monotonic() - started >= SECONDS:
                break
        return done / (time.monotonic() - started)


def _answer(connection: ssl.SSLSocket) -> bytes:
    """Read head and body, of known length or in chunks."""
    answer = connection.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0][15:]) if lengths else not body.endswith(b"0\r\n\r\n"):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _pem(name: str) -> str:
    der, _, _ = make_csr(name)
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


def _vault_body(name: str) -> str:
    return json.dumps({"csr": _pem(name), "common_name": name, "ttl": "2160h"})


def _vault() -> None:
    """The PKI engine of the Vault that the other parts use."""
    import hvac  # noqa: PLC0415 - only here

    address, ca_file = os.environ["PKI_TEST_VAULT_ADDR"], os.environ["PKI_TEST_VAULT_CACERT"]
    token, mount = os.environ["PKI_TEST_VAULT_TOKEN"], f"bench-pki-{uuid.uuid4().hex[:8]}"
    client = hvac.Client(url=address, token=token, verify=ca_file)
    client.session.trust_env = False
    client.sys.enable_secrets_engine("pki", path=mount, config={"max_lease_ttl": "87600h"})
    try:
        key = {"key_type": "ec", "key_bits": 256, "ttl": "87600h"}
        client.secrets.pki.generate_root("internal", "Bench Root", extra_params=key, mount_point=mount)
        options = {"allow_any_name": True, "key_type": "any", "max_ttl": "8760h"}
        client.secrets.pki.create_or_update_role("bench", options, mount_point=mount)
        host, _, port = address.removeprefix("https://").partition(":")
        head = f"POST /v1/{mount}/sign/bench HTTP/1.1\r\nHost: {host}:{port}\r\nX-Vault-Token: {token}\r\n"
        version = client.sys.read_health_status(method="GET")["version"]
        _measure(f"Vault PKI {version}", host, int(port), ca_file, head, _vault_body)
    finally:
        client.sys.disable_secrets_engine(mount)


def _step() -> None:
    program = _step_program()
    if program is None:
        return
    with tempfile.TemporaryDirectory(prefix="bench-step-") as name, _step_server(program, Path(name)) as (port, key):
        head = f"POST /1.0/sign HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        label = f"step-ca {STEP_CA.rpartition('@')[2]}"
        _measure(label, "127.0.0.1", port, f"{name}/root.crt", head, partial(_step_body, port=port, pem=pem))


def _step_program() -> str | None:
    """Return the program, built once where it is not installed; None, with the reason printed, where that fails."""
    if found := os.environ.get("PKI_BENCH_STEP_CA") or shutil.which("step-ca"):
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pkiportal" / "step-ca"
    if (cache / "step-ca").exists():
        return str(cache / "step-ca")
    go = usable_go()
    if go is None:
        print("  step-ca is left out: it is not installed, and there is no Go to build it with.")
        return None
    print("  building step-ca (some minutes, once)")
    environment = {**os.environ, "GOBIN": str(cache), "CGO_ENABLED": "0"}
    done = subprocess.run([go, "install", STEP_CA], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  step-ca is left out: it cannot be built ({done.stderr.strip().splitlines()[-1:]}).")
        return None
    return str(cache / "step-ca")


def _step_body(name: str, *, port: int, pem: bytes) -> str:
    """CSR and one-time token, signed by the provisioner's key."""
    return json.dumps({"csr": _pem(name), "ott": _token(name, port, pem)})


def _token(name: str, port: int, pem: bytes) -> str:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - in the clients

    now = int(time.time())
    claims = {
        "iss": "bench",
        "sub": name,
        "sans": [name],
        "aud": f"https://127.0.0.1:{port}/1.0/sign",
        "iat": now,
        "nbf": now - 60,
        "exp": now + 3600,
        "jti": uuid.uuid4().hex,
    }
    parts = [_text(json.dumps(part).encode()) for part in ({"alg": "ES256", "kid": "bench", "typ": "JWT"}, claims)]
    key: Any = load_pem_private_key(pem, None)
    numbers = decode_dss_signature(key.sign(".".join(parts).encode(), ec.ECDSA(hashes.SHA256())))
    return ".".join([*parts, _text(b"".join(number.to_bytes(32, "big") for number in numbers))])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextlib.contextmanager
def _step_server(program: str, folder: Path) -> Iterator[tuple[int, ec.EllipticCurvePrivateKey]]:
    """step-ca with a CA of its own and one JWK provisioner; its port and the provisioner's key."""
    root_key, ca_key, provisioner = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    now = datetime.now(UTC)
    root = build_root(root_key, name="Bench Root", now=now, years=10)
    certificate = x509.load_der_x509_certificate(root)
    issuing = build_issuing_ca(root_key, certificate, ca_key.public_key(), name="Bench CA", now=now, years=5)
    _write_pem(folder / "root.crt", root)
    _write_pem(folder / "ca.crt", issuing)
    (folder / "ca.key").write_bytes(ca_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (folder / "ca.json").write_text(json.dumps(_step_settings(folder, port, provisioner)))
    with (folder / "log").open("wb") as log, subprocess.Popen([program, str(folder / "ca.json")], stdout=log, stderr=log) as server:
        try:
            _wait(port, server, folder / "log")
            yield port, provisioner
        finally:
            server.terminate()


def _step_settings(folder: Path, port: int, provisioner: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    point = provisioner.public_key().public_numbers()
    coordinates = {name: _text(number.to_bytes(32, "big")) for name, number in (("x", point.x), ("y", point.y))}
    key = {"use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "bench", **coordinates}
    claims = {"maxTLSCertDuration": "8760h", "defaultTLSCertDuration": "2160h"}
    return {
        "root": str(folder / "root.crt"),
        "crt": str(folder / "ca.crt"),
        "key": str(folder / "ca.key"),
        "address": f"127.0.0.1:{port}",
        "dnsNames": ["127.0.0.1"],
        "db": {"type": "badgerv2", "dataSource": str(folder / "db")},
        "authority": {"provisioners": [{"type": "JWK", "name": "bench", "key": key, "claims": claims}]},
    }


def _write_pem(path: Path, der: bytes) -> None:
    path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"step-ca did not come up: {log.read_text()[-500:]}")
