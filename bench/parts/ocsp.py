"""OCSP answers a second with 1,000,000 certificates in PostgreSQL: signed on request, and kept; two web processes, wrk beside them."""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.conf import settings

from bench.inventory import fill
from bench.machine import row
from bench.parts.http import web_server
from certs.models import Certificate, Issuer
from certs.status.maintenance import keep_status_information

CERTIFICATES = int(os.environ.get("PKI_BENCH_CERTIFICATES", "1000000"))
ASKED, HOT = min(20_000, CERTIFICATES), min(1_000, CERTIFICATES)
SECONDS = int(os.environ.get("PKI_BENCH_SECONDS", "10"))
CONNECTIONS, RUNS = 8, 3
# wrk runs this in each of its threads: the requests are made before the clock starts.
POST = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = (line:gsub("..", function(h) return string.char(tonumber(h, 16)) end)) end
local n = math.random(#bodies)
function request()
  n = n %% #bodies + 1
  return wrk.format("POST", "%s", {["Content-Type"] = "application/ocsp-request"}, bodies[n])
end
"""
GET = """
local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = line end
local n = math.random(#paths)
function request()
  n = n %% #paths + 1
  return wrk.format("GET", paths[n])
end
"""


def run() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk (Debian's package of that name).")
    fill(CERTIFICATES)
    keep_status_information()
    issuer = Issuer.objects.get(name=settings.PKI_DEFAULT_CA)
    print(f"OCSP, {CERTIFICATES:,} certificates in PostgreSQL, two web processes, {CONNECTIONS} connections, {RUNS} x {SECONDS} s")
    path = f"/pki/ocsp/{issuer.slug}"
    folder = Path(tempfile.mkdtemp(prefix="bench-ocsp-"))
    fresh, hot = folder / "fresh", folder / "hot"
    fresh.write_text("\n".join(_request(issuer, serial, nonce=True).hex() for serial in _serials(ASKED)))
    few = [_request(issuer, serial, nonce=False) for serial in _serials(HOT)]
    hot.write_text("\n".join(one.hex() for one in few))
    paths = folder / "paths"
    paths.write_text("\n".join(f"{path}/{quote(base64.b64encode(one).decode(), safe='')}" for one in few))
    file = folder / "script.lua"
    with web_server(PKI_OCSP_NONCES_PER_MINUTE="1000000000") as port:
        for label, script in (
            (f"signed on request: {ASKED:,} certificates, POST with nonce", POST % (fresh, path)),
            (f"kept: {HOT:,} certificates, POST", POST % (hot, path)),
            (f"kept: {HOT:,} certificates, GET", GET % paths),
        ):
            file.write_text(script)
            rates = [_wrk(port, file) for _ in range(RUNS)]
            row(label, *[f"{rate:,.0f} a second" for rate in sorted(rates)])
    with web_server("bench.bare_wsgi:application") as port:
        for label, script in (("POST", POST % (hot, "/x")), ("GET", GET % paths)):
            file.write_text(script)
            rates = [_wrk(port, file) for _ in range(RUNS)]
            row(f"the server alone, a callable with fixed bytes, {label}", *[f"{rate:,.0f} a second" for rate in sorted(rates)])
    shutil.rmtree(folder)
    print()


def _serials(count: int) -> list[int]:
    """Of certificates all over the inventory."""
    step = CERTIFICATES // count
    rows = Certificate.objects.order_by("pk").values_list("serial_number", flat=True)
    return [int(serial, 16) for number, serial in enumerate(rows.iterator(chunk_size=10_000)) if number % step == 0][:count]


def _request(issuer: Issuer, serial: int, *, nonce: bool) -> bytes:
    name, key = _hashes(bytes(issuer.certificate_der or b""))
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, serial, hashes.SHA1())  # noqa: S303 - as clients ask
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(secrets.token_bytes(32)), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def _hashes(der: bytes) -> tuple[bytes, bytes]:
    from certs.x509.ocsp import issuer_hashes  # noqa: PLC0415 - only here

    _, name, key = issuer_hashes(x509.load_der_x509_certificate(der))[0]
    return name, key


def _wrk(port: int, script: Path) -> float:
    """Answers a second; fails when any was not 200."""
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "Non-2xx" not in said, said
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    assert found is not None, said
    return float(found[1])
