"""The policies in docs/vault/, tried path by path with real AppRole logins: what each role needs it may, and nothing that reveals a key."""

from __future__ import annotations

import base64
import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hvac
import pytest

from keys.backends.vault import VaultKeyBackend
from keys.errors import KeyOperationRefused
from keys.spec import KeySpec
from tests.harness.plugin.parts import VaultAccess

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "vault"
MESSAGE = base64.b64encode(b"message").decode()


class Mounts:
    """The two transit engines of the documents, under names of this test's own, and logins for each role."""

    def __init__(self, vault: hvac.Client, access: VaultAccess, leaf: str, ca: str) -> None:
        self.vault, self.access, self.leaf, self.ca = vault, access, leaf, ca
        self.mark = uuid.uuid4().hex[:8]

    def login(self, role: str, *, period: str = "1h") -> dict[str, Any]:
        name = f"{role}-{self.mark}"
        text = (FOLDER / f"{role}.hcl").read_text().replace("transit-leaf/", f"{self.leaf}/").replace("transit-ca/", f"{self.ca}/")
        self.vault.sys.create_or_update_policy(name, text)
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
    made = Mounts(vault_client, vault_access, vault_mount("transit"), vault_mount("transit"))
    vault_client.secrets.transit.create_key("victim", key_type="ecdsa-p256", mount_point=made.leaf)
    vault_client.secrets.transit.create_key("authority", key_type="ecdsa-p256", mount_point=made.ca)
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
    backend = mounts.backend("destroy", mounts.leaf)
    found = backend.find("victim", key_id=uuid.uuid4())
    assert found is not None
    backend.destroy(found.ref)
    assert backend.find("victim", key_id=uuid.uuid4()) is None


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
    },
    "destroy": {
        "allow export": lambda c, m: c.secrets.transit.update_key_configuration("victim", exportable=True, mount_point=m.leaf),
        "export": lambda c, m: c.secrets.transit.export_key("victim", "signing-key", mount_point=m.leaf),
        "sign": lambda c, m: c.secrets.transit.sign_data("victim", hash_input=MESSAGE, mount_point=m.leaf),
        "make a key": lambda c, m: c.secrets.transit.create_key("x", key_type="ecdsa-p256", mount_point=m.leaf),
        "delete the CA's key": lambda c, m: c.secrets.transit.delete_key("authority", mount_point=m.ca),
    },
}


@pytest.mark.parametrize(
    ("role", "act"), [(role, act) for role, acts in FORBIDDEN.items() for act in acts], ids=lambda value: value.replace(" ", "-")
)
def test_role_may_not(mounts: Mounts, role: str, act: str) -> None:
    with pytest.raises(hvac.exceptions.Forbidden):
        FORBIDDEN[role][act](mounts.client(role), mounts)


def test_refusal_is_said_as_not_permitted_and_is_not_retried(mounts: Mounts) -> None:
    backend = mounts.backend("ca", mounts.ca)
    with pytest.raises(KeyOperationRefused) as caught:
        backend.create("x", KeySpec.EC_P256, key_id=uuid.uuid4())
    assert (caught.value.retryable, "docs/vault" in caught.value.next_step) == (False, True)


def test_token_is_renewed_before_it_ends(mounts: Mounts) -> None:
    access = mounts.access
    login = mounts.login("keys", period="4s")
    backend = VaultKeyBackend("keys", mount=mounts.leaf, url=access.address, ca_cert=str(access.ca_file), **login)
    made = backend.create("renewed", KeySpec.EC_P256, key_id=uuid.uuid4())
    token = backend._session._token
    for _ in range(2):  # 6 seconds: longer than the token would live by itself
        time.sleep(3)
        assert backend.find("renewed", key_id=made.ref.key_id) is not None
    assert backend._session._token == token  # renewed, not replaced by a new login


def test_token_that_was_revoked_is_replaced_by_a_new_login(mounts: Mounts) -> None:
    backend = mounts.backend("keys", mounts.leaf)
    made = backend.create("again", KeySpec.EC_P256, key_id=uuid.uuid4())
    mounts.vault.auth.token.revoke(backend._session._token)
    assert backend.find("again", key_id=made.ref.key_id) is not None
