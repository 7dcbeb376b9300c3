"""The call that signs with a key in the vault, as the page of a request shows it, run against a real Vault."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from certs.servers.signing import sign_call
from keys.backends.vault import VaultKeyBackend
from keys.spec import KeySpec
from tests.harness.plugin.parts import VaultAccess


@pytest.mark.parametrize("spec", [KeySpec.EC_P256, KeySpec.RSA_3072, KeySpec.ED25519])
def test_signature_of_the_call_is_by_the_key(
    spec: KeySpec, vault_access: VaultAccess, vault_mount: Callable[[str], str], tmp_path: Path
) -> None:
    backend = VaultKeyBackend(
        "vault", mount=vault_mount("transit"), url=vault_access.address, ca_cert=str(vault_access.ca_file), token=vault_access.token
    )
    made = backend.create(f"sign-{uuid.uuid4().hex[:8]}", spec, key_id=uuid.uuid4())
    call = sign_call("VaultKeyBackend", locator=made.ref.locator, name=made.ref.name, version=made.ref.version, key_type=spec)
    (tmp_path / "FILE").write_bytes(b"what is signed\n")
    login = {"VAULT_ADDR": vault_access.address, "VAULT_TOKEN": vault_access.token, "CURL_CA_BUNDLE": str(vault_access.ca_file)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", call], cwd=tmp_path, env=os.environ | login, check=True, capture_output=True)
    signature, message = (tmp_path / "FILE.sig").read_bytes(), (tmp_path / "FILE").read_bytes()
    match made.public_key:
        case ec.EllipticCurvePublicKey() as key:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        case rsa.RSAPublicKey() as key:
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PublicKey() as key:
            key.verify(signature, message)
        case _:
            raise AssertionError(made.public_key)


def test_hsm_has_its_own_call_and_local_keys_none() -> None:
    hsm = sign_call("PKCS11KeyBackend", locator="token:a", name="shop-example-com", version=1, key_type="ec-p256")
    assert "--label shop-example-com --mechanism ECDSA-SHA256" in hsm
    assert sign_call("LocalKeyBackend", locator="local/keys/a", name="a", version=1, key_type="ec-p256") == ""
