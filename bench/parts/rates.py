"""Issue rate of the whole pipeline in one process, beside a bare pyca loop that only verifies and signs."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.conf import settings
from django.test import override_settings

from audit.log import Actor
from bench import bare
from bench.csrs import make_csr
from bench.machine import row, timed
from bench.portal import requester
from certs.ca.local.setup import ensure_own_ca
from certs.issuance.synchronous import Call, issue_batch
from certs.spec import CertificateSpec
from keys.spec import KeySpec

COUNT = {"ec-p256": 2000, "rsa-4096": 500}
BATCH = 500


def run() -> None:
    print(f"Certificates a second, one process, P-256 leaf keys, external CSRs, batches of {BATCH}, policy and audit on")
    for spec in (KeySpec.EC_P256, KeySpec.RSA_4096):
        _measure(spec)
    print()


def _measure(ca_key: KeySpec) -> None:
    count, name = COUNT[ca_key], f"Bench-{ca_key}"
    settings.CA_CLIENTS = {**settings.CA_CLIENTS, name: {"CLIENT": "certs.ca.local.client.LocalCAClient", "OPTIONS": {}}}
    ensure_own_ca(name=name, spec=ca_key, actor=Actor("command", "bench"), tell=lambda _line: None)
    csrs = [make_csr(f"r{number}.{ca_key}.example.com") for number in range(count)]
    loop = count / timed(lambda: [bare.certificate(csr, BARE_KEYS[ca_key]) for csr, _, _ in csrs])
    specs = [CertificateSpec(name, (name,), (), "ec-p256", 90, "tls-server", csr_der=der, spki_der=spki) for der, spki, name in csrs]

    def pipeline() -> None:
        for first in range(0, count, BATCH):
            for made in issue_batch([Call(spec, requester()) for spec in specs[first : first + BATCH]]):
                if isinstance(made, Exception):
                    raise made

    with override_settings(PKI_DEFAULT_CA=name):
        full = count / timed(pipeline)
    row(f"CA key {ca_key.label}", f"portal {full:,.0f}", f"bare pyca loop {loop:,.0f}", f"ratio {full / loop:.2f}")


BARE_KEYS: dict[KeySpec, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {
    KeySpec.EC_P256: ec.generate_private_key(ec.SECP256R1()),
    KeySpec.RSA_4096: rsa.generate_private_key(65537, 4096),
}
