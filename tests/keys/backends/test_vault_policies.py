"""The policies in docs/vault/, tried path by path with real AppRole logins: what each role needs it may, and nothing that reveals a key."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hvac
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certs.x509.csr.build import build_csr
from keys.backends.vault import VaultKeyBackend
from keys.errors import KeyOperationRefused
from keys.spec import KeySpec
from tests.harness.plugin.parts import VaultAccess

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "vault"
MESSAGE = base64.b64encode(b"message").decode()


class Mounts:
    """The engines of the documents, under names of this test's own, and logins for each role."""

    def __init__(self, vault: hvac.Client, access: VaultAccess, mount: Callable[[str], str]) -> None:
        self.vault, self.access = vault, access
        self.leaf, self.ca, self.root, self.ocsp = (mount("transit") for _ in range(4))
        self.pki = mount("pki")
        self.mark = uuid.uuid4().hex[:8]

    def policy(self, role: str) -> str:
        text = (FOLDER / f"{role}.hcl").read_text()
        documented = {
            "transit-leaf/": self.leaf,
            "transit-ca/": self.ca,
            "transit-root/": self.root,
            "transit-ocsp/": self.ocsp,
            '"pki/': f'"{self.pki}',
        }
        for name, own in documented.items():
            text = text.replace(name, f"{own}/")
        return text

    def login(self, role: str, *, period: str = "1h") -> dict[str, Any]:
        name = f"{role}-{self.mark}"
        self.vault.sys.create_or_update_policy(name, self.policy(role))
        self.vault.auth.approle.create_or_update_approle(name, token_policies=[name], token_period=period, token_no_default_policy=True)
        secret = self.vault.auth.approle.generate_secret_id(name)["data"]["secret_id"]
        return {"role_id": self.vault.auth.approle.read_role_id(name)["data"]["role_id"], "secret_id": secret}

    def backend(self, role: str, mount: str) -> VaultKeyBackend:
        return VaultKeyBackend(role, mount=mount, url=self.access.address, ca_cert=str(self.access.ca_file), **self.login(role))

    def client(self, role: str) -> hvac.Client:
        client = hvac.Client(url=self.access.address, verify=str(self.access.ca_file))
        client.session.trust_env = False
        client.auth.approle.login(**self.login(role))
        return client


@pytest.fixture
def mounts(vault_client: hvac.Client, vault_access: VaultAccess, vault_mount: Callable[[str], str]) -> Mounts:
    if "approle/" not in vault_client.sys.list_auth_methods()["data"]:
        with contextlib.suppress(hvac.exceptions.InvalidRequest):  # another worker was first
            vault_client.sys.enable_auth_method("approle")
    made = Mounts(vault_client, vault_access, vault_mount)
    vault_client.secrets.transit.create_key("victim", key_type="ecdsa-p256", mount_point=made.leaf)
    for mount in (made.ca, made.root, made.ocsp):
        vault_client.secrets.transit.create_key("authority", key_type="ecdsa-p256", mount_point=mount)
    return made


def test_keys_role_does_all_that_the_portal_does_with_leaf_keys(mounts: Mounts) -> None:
    backend = mounts.backend("keys", mounts.leaf)
    made = backend.create("api-example-com", KeySpec.EC_P256, key_id=uuid.uuid4())
    assert backend.find("api-example-com", key_id=made.ref.key_id) is not None
    assert len(backend.sign_many(made.ref, [b"a", b"b"])) == 2
    assert backend.rotate(made.ref, from_version=1, key_id=uuid.uuid4()).ref.version == 2


def test_ca_role_signs_with_the_authoritys_key(mounts: Mounts) -> None:
    backend = mounts.backend("ca", mounts.ca)
    found = backend.find("authority", key_id=uuid.uuid4())
    assert found is not None
    assert len(backend.sign_many(found.ref, [b"tbs"])) == 1


def test_destroy_role_destroys(mounts: Mounts) -> None:
    for mount, name in ((mounts.leaf, "victim"), (mounts.ocsp, "authority")):
        backend = mounts.backend("destroy", mount)
        found = backend.find(name, key_id=uuid.uuid4())
        assert found is not None
        backend.destroy(found.ref)
        assert backend.find(name, key_id=uuid.uuid4()) is None


def test_bootstrap_role_makes_and_uses_the_keys_of_root_and_ca(mounts: Mounts) -> None:
    for mount in (mounts.root, mounts.ca):
        backend = mounts.backend("bootstrap", mount)
        made = backend.create("new", KeySpec.EC_P256, key_id=uuid.uuid4())
        assert backend.find("new", key_id=made.ref.key_id) is not None
        assert len(backend.sign_many(made.ref, [b"tbs"])) == 1
        assert backend.is_working() is True


def csr() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    der = build_csr(key, common_name="a.example.com", dns_names=("a.example.com",), ip_addresses=())
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


@pytest.fixture
def pki(mounts: Mounts) -> Mounts:
    """The PKI engine with a root of its own and the roles `portal` and `other`."""
    mounts.vault.secrets.pki.generate_root(
        "internal", "Test Root", extra_params={"key_type": "ec", "key_bits": 256}, mount_point=mounts.pki
    )
    options = {
        "allow_any_name": True,
        "key_type": "any",
        "use_csr_sans": False,
        "use_csr_common_name": False,
        "no_store": False,
        "ttl": "1h",
    }
    for role in ("portal", "other"):
        mounts.vault.secrets.pki.create_or_update_role(role, options, mount_point=mounts.pki)
    return mounts


def test_pki_role_signs_looks_up_and_revokes(pki: Mounts) -> None:
    client = pki.client("pki")
    assert client.secrets.pki.read_role("portal", mount_point=pki.pki)["data"]["no_store"] is False
    signed = client.secrets.pki.sign_certificate("portal", csr(), "a.example.com", mount_point=pki.pki)["data"]
    assert signed["serial_number"].replace(":", "-") in {
        serial.replace(":", "-") for serial in client.secrets.pki.list_certificates(mount_point=pki.pki)["data"]["keys"]
    }
    client.secrets.pki.revoke_certificate(signed["serial_number"], mount_point=pki.pki)
    assert client.secrets.pki.read_certificate(signed["serial_number"], mount_point=pki.pki)["data"]["revocation_time"] > 0
    assert signed["serial_number"] in client.list(f"{pki.pki}/certs/revoked")["data"]["keys"]
    assert "BEGIN CERTIFICATE" in client.secrets.pki.read_ca_certificate(mount_point=pki.pki)


def _reveal_or_end(mount: Callable[[Mounts], str]) -> dict[str, Callable[[hvac.Client, Mounts], Any]]:
    """What nobody may do who makes keys."""
    return {
        "make an exportable key": lambda c, m: c.secrets.transit.create_key(
            "x", key_type="ecdsa-p256", exportable=True, mount_point=mount(m)
        ),
        "make a key that can be backed up": lambda c, m: c.secrets.transit.create_key(
            "x", key_type="ecdsa-p256", allow_plaintext_backup=True, mount_point=mount(m)
        ),
        "make a derived key": lambda c, m: c.secrets.transit.create_key("x", key_type="ed25519", derived=True, mount_point=mount(m)),
        "import a key": lambda c, m: c.write(f"{mount(m)}/keys/x/import", type="ecdsa-p256", ciphertext="x"),
        "write config": lambda c, m: c.secrets.transit.update_key_configuration("authority", exportable=True, mount_point=mount(m)),
        "allow deletion": lambda c, m: c.secrets.transit.update_key_configuration("authority", deletion_allowed=True, mount_point=mount(m)),
        "rotate": lambda c, m: c.secrets.transit.rotate_key("authority", mount_point=mount(m)),
        "export": lambda c, m: c.secrets.transit.export_key("authority", "signing-key", mount_point=mount(m)),
        "back up": lambda c, m: c.secrets.transit.backup_key("authority", mount_point=mount(m)),
        "restore": lambda c, m: c.secrets.transit.restore_key("x", mount_point=mount(m)),
        "trim": lambda c, m: c.secrets.transit.trim_key("authority", 1, mount_point=mount(m)),
        "delete": lambda c, m: c.secrets.transit.delete_key("authority", mount_point=mount(m)),
    }


def test_ca_role_makes_responders_keys_and_ocsp_role_signs_with_them(mounts: Mounts) -> None:
    made = mounts.backend("ca", mounts.ocsp).create("ocsp-internal-ca-prod", KeySpec.EC_P256, key_id=uuid.uuid4())
    backend = mounts.backend("ocsp", mounts.ocsp)
    signature = backend.private_key(made.ref).sign(b"an answer", ec.ECDSA(hashes.SHA256()))
    public_key: Any = made.public_key
    public_key.verify(signature, b"an answer", ec.ECDSA(hashes.SHA256()))


def test_ca_role_signs_a_crl_by_its_digest(mounts: Mounts) -> None:
    backend = mounts.backend("ca", mounts.ca)
    found = backend.find("authority", key_id=uuid.uuid4())
    assert found is not None
    public_key: Any = found.public_key
    signature = backend.sign_digest(found.ref, hashlib.sha256(b"a large CRL").digest())
    public_key.verify(signature, b"a large CRL", ec.ECDSA(hashes.SHA256()))


FORBIDDEN: dict[str, dict[str, Callable[[hvac.Client, Mounts], Any]]] = {
    "keys": {
        "make an exportable key": lambda c, m: c.secrets.transit.create_key(
            "x", key_type="ecdsa-p256", exportable=True, mount_point=m.leaf
        ),
        "make a key that can be backed up": lambda c, m: c.secrets.transit.create_key(
            "x", key_type="ecdsa-p256", allow_plaintext_backup=True, mount_point=m.leaf
        ),
        "write config": lambda c, m: c.secrets.transit.update_key_configuration("victim", exportable=True, mount_point=m.leaf),
        "allow deletion": lambda c, m: c.secrets.transit.update_key_configuration("victim", deletion_allowed=True, mount_point=m.leaf),
        "export": lambda c, m: c.secrets.transit.export_key("victim", "signing-key", mount_point=m.leaf),
        "back up": lambda c, m: c.secrets.transit.backup_key("victim", mount_point=m.leaf),
        "delete": lambda c, m: c.secrets.transit.delete_key("victim", mount_point=m.leaf),
        "import a key": lambda c, m: c.write(f"{m.leaf}/keys/x/import", type="ecdsa-p256", ciphertext="x"),
        "make a derived key": lambda c, m: c.secrets.transit.create_key("x", key_type="ed25519", derived=True, mount_point=m.leaf),
        "restore a key": lambda c, m: c.secrets.transit.restore_key("x", mount_point=m.leaf),
        "trim": lambda c, m: c.secrets.transit.trim_key("victim", 1, mount_point=m.leaf),
        "sign with the CA's key": lambda c, m: c.secrets.transit.sign_data("authority", hash_input=MESSAGE, mount_point=m.ca),
        "read the CA's key": lambda c, m: c.secrets.transit.read_key("authority", mount_point=m.ca),
        "write a policy": lambda c, m: c.sys.create_or_update_policy("x", ""),
        "make a token": lambda c, m: c.auth.token.create(),
    },
    "ca": {
        "make a key": lambda c, m: c.secrets.transit.create_key("x", key_type="ecdsa-p256", mount_point=m.ca),
        "rotate": lambda c, m: c.secrets.transit.rotate_key("authority", mount_point=m.ca),
        "write config": lambda c, m: c.secrets.transit.update_key_configuration("authority", exportable=True, mount_point=m.ca),
        "export": lambda c, m: c.secrets.transit.export_key("authority", "signing-key", mount_point=m.ca),
        "delete": lambda c, m: c.secrets.transit.delete_key("authority", mount_point=m.ca),
        "sign with a leaf key": lambda c, m: c.secrets.transit.sign_data("victim", hash_input=MESSAGE, mount_point=m.leaf),
        "sign with a responder's key": lambda c, m: c.secrets.transit.sign_data("authority", hash_input=MESSAGE, mount_point=m.ocsp),
        "make an exportable responder's key": lambda c, m: c.secrets.transit.create_key(
            "x", key_type="ecdsa-p256", exportable=True, mount_point=m.ocsp
        ),
    },
    "ocsp": {
        "make a key": lambda c, m: c.secrets.transit.create_key("x", key_type="ecdsa-p256", mount_point=m.ocsp),
        "rotate": lambda c, m: c.secrets.transit.rotate_key("authority", mount_point=m.ocsp),
        "write config": lambda c, m: c.secrets.transit.update_key_configuration("authority", exportable=True, mount_point=m.ocsp),
        "export": lambda c, m: c.secrets.transit.export_key("authority", "signing-key", mount_point=m.ocsp),
        "delete": lambda c, m: c.secrets.transit.delete_key("authority", mount_point=m.ocsp),
        "sign with the CA's key": lambda c, m: c.secrets.transit.sign_data("authority", hash_input=MESSAGE, mount_point=m.ca),
        "read the CA's key": lambda c, m: c.secrets.transit.read_key("authority", mount_point=m.ca),
        "sign with the root's key": lambda c, m: c.secrets.transit.sign_data("authority", hash_input=MESSAGE, mount_point=m.root),
        "sign with a leaf key": lambda c, m: c.secrets.transit.sign_data("victim", hash_input=MESSAGE, mount_point=m.leaf),
        "make a token": lambda c, m: c.auth.token.create(),
    },
    "destroy": {
        "allow export": lambda c, m: c.secrets.transit.update_key_configuration("victim", exportable=True, mount_point=m.leaf),
        "export": lambda c, m: c.secrets.transit.export_key("victim", "signing-key", mount_point=m.leaf),
        "sign": lambda c, m: c.secrets.transit.sign_data("victim", hash_input=MESSAGE, mount_point=m.leaf),
        "make a key": lambda c, m: c.secrets.transit.create_key("x", key_type="ecdsa-p256", mount_point=m.leaf),
        "delete the CA's key": lambda c, m: c.secrets.transit.delete_key("authority", mount_point=m.ca),
    },
    "bootstrap": {
        **{
            f"{what} ({where})": act
            for where, mount in (("root", lambda m: m.root), ("ca", lambda m: m.ca))
            for what, act in _reveal_or_end(mount).items()
        },
        "use a leaf key": lambda c, m: c.secrets.transit.sign_data("victim", hash_input=MESSAGE, mount_point=m.leaf),
        "read a leaf key": lambda c, m: c.secrets.transit.read_key("victim", mount_point=m.leaf),
        "write a policy": lambda c, m: c.sys.create_or_update_policy("x", ""),
        "make a token": lambda c, m: c.auth.token.create(),
    },
    "pki": {
        "sign with another role": lambda c, m: c.secrets.pki.sign_certificate("other", "", "a.example.com", mount_point=m.pki),
        "sign as the CSR says": lambda c, m: c.secrets.pki.sign_verbatim("", "portal", mount_point=m.pki),
        "make a key and a certificate": lambda c, m: c.secrets.pki.generate_certificate("portal", "a.example.com", mount_point=m.pki),
        "sign a CA": lambda c, m: c.secrets.pki.sign_intermediate("", "x", mount_point=m.pki),
        "write its role": lambda c, m: c.secrets.pki.create_or_update_role("portal", {"use_csr_sans": True}, mount_point=m.pki),
        "make a role": lambda c, m: c.secrets.pki.create_or_update_role("x", {}, mount_point=m.pki),
        "delete the CA": lambda c, m: c.secrets.pki.delete_root(mount_point=m.pki),
        "make a CA": lambda c, m: c.secrets.pki.generate_root("exported", "x", mount_point=m.pki),
        "bring a CA": lambda c, m: c.secrets.pki.submit_ca_information("", mount_point=m.pki),
        "tidy": lambda c, m: c.secrets.pki.tidy(mount_point=m.pki),
        "change the CRL's life": lambda c, m: c.secrets.pki.set_crl_configuration("1h", mount_point=m.pki),
        "use a leaf key": lambda c, m: c.secrets.transit.sign_data("victim", hash_input=MESSAGE, mount_point=m.leaf),
        "use the CA's key": lambda c, m: c.secrets.transit.sign_data("authority", hash_input=MESSAGE, mount_point=m.ca),
        "make a token": lambda c, m: c.auth.token.create(),
    },
}
# No worker's role reaches the root's mount.
for _role in ("keys", "ca", "destroy", "pki"):
    FORBIDDEN[_role] |= {
        "read the root's key": lambda c, m: c.secrets.transit.read_key("authority", mount_point=m.root),
        "sign with the root's key": lambda c, m: c.secrets.transit.sign_data("authority", hash_input=MESSAGE, mount_point=m.root),
    }


@pytest.mark.parametrize(
    ("role", "act"), [(role, act) for role, acts in FORBIDDEN.items() for act in acts], ids=lambda value: value.replace(" ", "-")
)
def test_role_may_not(mounts: Mounts, role: str, act: str) -> None:
    with pytest.raises(hvac.exceptions.Forbidden):
        FORBIDDEN[role][act](mounts.client(role), mounts)


def test_refusal_of_a_living_token_is_about_the_role_and_waits_for_its_rights(mounts: Mounts) -> None:
    backend = mounts.backend("ca", mounts.ca)
    with pytest.raises(KeyOperationRefused) as caught:
        backend.create("x", KeySpec.EC_P256, key_id=uuid.uuid4())
    assert (caught.value.retryable, "docs/vault" in caught.value.next_step) == (True, True)


def test_token_is_renewed_before_it_ends(mounts: Mounts) -> None:
    access = mounts.access
    login = mounts.login("keys", period="4s")
    backend = VaultKeyBackend("keys", mount=mounts.leaf, url=access.address, ca_cert=str(access.ca_file), **login)
    made = backend.create("renewed", KeySpec.EC_P256, key_id=uuid.uuid4())
    token = backend.session.token
    for _ in range(2):  # 6 seconds: longer than the token would live by itself
        time.sleep(3)
        assert backend.find("renewed", key_id=made.ref.key_id) is not None
    assert backend.session.token == token  # renewed, not replaced by a new login


def test_token_that_was_revoked_is_replaced_by_a_new_login(mounts: Mounts) -> None:
    backend = mounts.backend("keys", mounts.leaf)
    made = backend.create("again", KeySpec.EC_P256, key_id=uuid.uuid4())
    mounts.vault.auth.token.revoke(backend.session.token)
    assert backend.find("again", key_id=made.ref.key_id) is not None
