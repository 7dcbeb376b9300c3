"""CSRs for benchmarks, and a client that sends them. No Django here: clients are processes of their own."""

from __future__ import annotations

import json
import os
import time
from http.client import HTTPConnection

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keys.spec import spki_der


def make_csr(name: str) -> tuple[bytes, bytes, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER), spki_der(key.public_key()), name


def post_for(port: int, token: str, number: int, seconds: float) -> int:
    """Send prepared CSRs over one keep-alive connection for that long; answers how many were issued. Fails on anything but 200."""
    prefix = f"{os.getpid()}-{number}"
    bodies = [_body(f"h{prefix}-{n}.example.com") for n in range(int(seconds * 500))]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    done, end = 0, time.monotonic() + seconds
    for n, body in enumerate(bodies):
        if time.monotonic() >= end:
            break
        connection.request("POST", "/api/v1/certificates/issue", body, {**headers, "Idempotency-Key": f"{prefix}-{n}"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {text[:300]!r}")
        done += 1
    return done


def _body(name: str) -> str:
    der, _, _ = make_csr(name)
    return json.dumps(
        {"csr": x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode(), "validity_days": 90, "profile": "tls-server"}
    )
