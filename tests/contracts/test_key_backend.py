"""What every key backend must do, run against each with the real thing behind it, and against the twin that stands in for them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certs.x509.csr.build import build_csr
from keys.backends.base import KeyBackend, KeyRef
from keys.backends.local import LocalKeyBackend
from keys.backends.pkcs11 import PKCS11KeyBackend
from keys.backends.vault import VaultKeyBackend
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyMismatch, KeyNotFound, KeyOperationRefused, UnsupportedKeySpec
from keys.signing import sign_message
from keys.spec import KeySpec
from tests.harness.plugin.parts import VaultAccess, connect
from tests.twins.keys import TwinKeyBackend

KINDS = ("local", "vault", "pkcs11", "twin")
FAST = KeySpec.EC_P256

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> KeyBackend:
    match request.param:
        case "local":
            local = LocalKeyBackend("local", kek_file=tmp_path / "kek")
            local.set_up()
            return local
        case "vault":
            access, mount = request.getfixturevalue("vault_access"), request.getfixturevalue("vault_mount")
            return VaultKeyBackend("vault", mount=mount("transit"), url=access.address, ca_cert=str(access.ca_file), token=access.token)
        case "pkcs11":
            token = request.getfixturevalue("softhsm")
            return PKCS11KeyBackend("pkcs11", module=str(token.module), token_label=token.label, pin=token.pin)
    return TwinKeyBackend("twin")


@pytest.fixture
def name() -> str:
    return f"contract-{uuid.uuid4().hex[:12]}"


def new_id() -> uuid.UUID:
    return uuid.uuid4()


@pytest.mark.parametrize("spec", list(KeySpec), ids=str)
def test_key_of_each_spec_signs_a_csr_that_openssl_accepts(backend: KeyBackend, name: str, spec: KeySpec, tmp_path: Path) -> None:
    if spec not in backend.capabilities.specs:
        with pytest.raises(UnsupportedKeySpec):
            backend.create(name, spec, key_id=new_id())
        return
    made = backend.create(name, spec, key_id=new_id())
    der = build_csr(backend.private_key(made.ref), common_name="a.example.com", dns_names=("a.example.com",), ip_addresses=())
    file = tmp_path / "csr.pem"
    file.write_bytes(x509.load_der_x509_csr(der).public_bytes(Encoding.PEM))
    # OpenSSL exits 0 for a broken signature too: the words count.
    answer = subprocess.run(["openssl", "req", "-verify", "-noout", "-in", file], capture_output=True, text=True, check=False)
    assert "verify OK" in answer.stdout + answer.stderr
    assert made.spec is spec


def test_create_again_for_the_same_claim_gives_the_same_key(backend: KeyBackend, name: str) -> None:
    claim = new_id()
    first = backend.create(name, FAST, key_id=claim)
    assert backend.create(name, FAST, key_id=claim).public_key == first.public_key
    found = backend.find(name, key_id=claim)
    assert found is not None
    assert (found.public_key, found.ref) == (first.public_key, first.ref)


def test_create_of_another_type_under_a_taken_name_is_refused(backend: KeyBackend, name: str) -> None:
    claim = new_id()
    backend.create(name, FAST, key_id=claim)
    with pytest.raises(KeyMismatch):
        backend.create(name, KeySpec.ED25519, key_id=claim)


def test_find_of_a_name_that_is_not_there_is_none(backend: KeyBackend, name: str) -> None:
    assert backend.find(name, key_id=new_id()) is None


def test_create_many_answers_each_in_order(backend: KeyBackend, name: str) -> None:
    wanted = [(f"{name}-{n}", spec, new_id()) for n, spec in enumerate((FAST, KeySpec.ED25519, KeySpec.ML_DSA_44, FAST))]
    results = backend.create_many(wanted)
    assert [r.spec if not isinstance(r, KeyBackendError) else type(r) for r in results] == [FAST, KeySpec.ED25519, UnsupportedKeySpec, FAST]


@pytest.mark.parametrize(
    "act",
    [
        lambda key: key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        lambda key: key.private_numbers(),
    ],
    ids=["private_bytes", "private_numbers"],
)
def test_private_key_never_shows_itself(backend: KeyBackend, name: str, act: Callable[[Any], object]) -> None:
    made = backend.create(name, FAST, key_id=new_id())
    with pytest.raises(KeyOperationRefused):
        act(backend.private_key(made.ref))


RSA = KeySpec.RSA_2048
_HASHES: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


def test_rsa_signs_with_each_hash_by_pkcs1(backend: KeyBackend, name: str) -> None:
    key: Any = backend.private_key(backend.create(name, RSA, key_id=new_id()).ref)
    for algorithm in _HASHES:
        signature = key.sign(b"message", padding.PKCS1v15(), algorithm)
        key.public_key().verify(signature, b"message", padding.PKCS1v15(), algorithm)


@pytest.mark.parametrize(
    ("scheme", "algorithm"),
    [
        (PSS, hashes.SHA256()),
        (padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303 - to be refused
        (padding.PKCS1v15(), hashes.SHA3_256()),
        (padding.PKCS1v15(), Prehashed(hashes.SHA256())),
        (padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None), hashes.SHA256()),
        (padding.PKCS1v15(), None),
    ],
    ids=["pss", "sha-1", "sha-3", "digest", "oaep", "no hash"],
)
def test_rsa_scheme_that_is_not_offered_is_refused(backend: KeyBackend, name: str, scheme: Any, algorithm: Any) -> None:
    key = backend.private_key(backend.create(name, RSA, key_id=new_id()).ref)
    with pytest.raises(KeyOperationRefused):
        key.sign(b"message", scheme, algorithm)


def test_ecdsa_signs_with_each_hash(backend: KeyBackend, name: str) -> None:
    key: Any = backend.private_key(backend.create(name, FAST, key_id=new_id()).ref)
    for algorithm in _HASHES:
        key.public_key().verify(key.sign(b"message", ec.ECDSA(algorithm)), b"message", ec.ECDSA(algorithm))


@pytest.mark.parametrize(
    "scheme",
    [ec.ECDSA(hashes.SHA1()), ec.ECDSA(hashes.SHA224()), ec.ECDSA(Prehashed(hashes.SHA256()))],  # noqa: S303 - to be refused
    ids=["sha-1", "sha-224", "digest"],
)
def test_ecdsa_hash_that_is_not_offered_is_refused(backend: KeyBackend, name: str, scheme: Any) -> None:
    key = backend.private_key(backend.create(name, FAST, key_id=new_id()).ref)
    with pytest.raises(KeyOperationRefused):
        key.sign(b"message", scheme)


@pytest.mark.parametrize("spec", [FAST, RSA], ids=str)
def test_message_too_large_to_hand_over_is_signed_by_its_digest(backend: KeyBackend, name: str, spec: KeySpec) -> None:
    made = backend.create(name, spec, key_id=new_id())
    message = b"a CRL with a million entries"
    signature = backend.sign_digest(made.ref, hashlib.sha256(message).digest())
    public_key: Any = made.public_key
    scheme = (padding.PKCS1v15(), hashes.SHA256()) if spec is RSA else (ec.ECDSA(hashes.SHA256()),)
    public_key.verify(signature, message, *scheme)


def test_sign_many_gives_valid_signatures_in_order(backend: KeyBackend, name: str) -> None:
    made = backend.create(name, FAST, key_id=new_id())
    messages = [f"message {n}".encode() for n in range(7)]
    for message, signature in zip(messages, backend.sign_many(made.ref, messages), strict=True):
        made.public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))  # type: ignore[union-attr, call-arg, arg-type]


def test_rotated_key_signs_with_the_version_that_was_asked(backend: KeyBackend, name: str) -> None:
    first = backend.create(name, FAST, key_id=new_id())
    if not backend.capabilities.rotates:
        with pytest.raises(KeyOperationRefused):
            backend.rotate(first.ref, from_version=1, key_id=new_id())
        return
    claim = new_id()
    second = backend.rotate(first.ref, from_version=1, key_id=claim)
    assert (first.ref.version, second.ref.version, second.ref.key_id, second.spec) == (1, 2, claim, FAST)
    assert backend.private_key(first.ref).public_key() == first.public_key
    assert backend.private_key(second.ref).public_key() == second.public_key != first.public_key
    for info in (first, second):
        der = build_csr(backend.private_key(info.ref), common_name="a.example.com", dns_names=("a.example.com",), ip_addresses=())
        assert x509.load_der_x509_csr(der).is_signature_valid
    found = backend.find(name, key_id=claim)
    assert found is not None
    assert (found.ref, found.public_key) == (second.ref, second.public_key)


def test_rotation_from_a_version_that_is_not_the_latest_is_refused_and_makes_nothing(backend: KeyBackend, name: str) -> None:
    if not backend.capabilities.rotates:
        pytest.skip("it has one version of each key")
    first = backend.create(name, FAST, key_id=new_id())
    claim = new_id()
    second = backend.rotate(first.ref, from_version=1, key_id=claim)
    with pytest.raises(KeyMismatch):
        backend.rotate(first.ref, from_version=1, key_id=new_id())
    found = backend.find(name, key_id=claim)
    assert found is not None
    assert found.public_key == second.public_key


def test_rotation_of_a_key_that_is_not_there_is_not_found(backend: KeyBackend, name: str) -> None:
    if not backend.capabilities.rotates:
        pytest.skip("it has one version of each key")
    with pytest.raises(KeyNotFound):
        backend.rotate(KeyRef(backend.alias, name, 1, name, new_id()), from_version=1, key_id=new_id())


def test_destroyed_key_is_gone_and_destroying_again_is_success(backend: KeyBackend, name: str) -> None:
    claim = new_id()
    made = backend.create(name, FAST, key_id=claim)
    backend.destroy(made.ref)
    backend.destroy(made.ref)
    assert backend.find(name, key_id=claim) is None
    with pytest.raises(KeyNotFound):
        sign_message(backend.private_key(made.ref), b"anything")


def test_key_destroyed_by_another_process_is_not_signed_with_from_memory(tmp_path: Path, name: str) -> None:
    here, there = (LocalKeyBackend("local", kek_file=tmp_path / "kek") for _ in range(2))
    here.set_up()
    made = here.create(name, FAST, key_id=new_id())
    here.private_key(made.ref)
    there.destroy(made.ref)
    with pytest.raises(KeyNotFound):
        here.private_key(made.ref)


def test_backend_that_answers_is_available(backend: KeyBackend) -> None:
    assert backend.is_working() is True


def test_vault_that_cannot_be_reached_is_retryable_and_no_other_backend_is_used(vault_access: Any) -> None:
    backend = VaultKeyBackend("vault", url="https://127.0.0.1:9", ca_cert=str(vault_access.ca_file), token="hvs.not-a-token")
    with pytest.raises(KeyBackendUnavailable) as caught:
        backend.create("x", FAST, key_id=new_id())
    assert caught.value.retryable is True
    assert "hvs.not-a-token" not in str(caught.value)
    assert backend.is_working() is False


def test_sealed_vault_is_retryable_and_works_again_once_unsealed(own_vault: Any, name: str) -> None:
    client = connect(VaultAccess(own_vault.address, own_vault.ca_file, own_vault.root_token))
    client.sys.enable_secrets_engine("transit")
    backend = VaultKeyBackend("vault", mount="transit", url=own_vault.address, ca_cert=str(own_vault.ca_file), token=own_vault.root_token)
    made = backend.create(name, FAST, key_id=new_id())
    own_vault.seal()
    with pytest.raises(KeyBackendUnavailable) as caught:
        backend.private_key(made.ref)
    assert "sealed" in str(caught.value)
    assert backend.is_working() is False
    own_vault.unseal()
    assert backend.private_key(made.ref).public_key() == made.public_key


def test_search_refuses_two_pairs_under_one_id_and_destroys_neither(softhsm: Any, name: str) -> None:
    backend = PKCS11KeyBackend("pkcs11", module=str(softhsm.module), token_label=softhsm.label, pin=softhsm.pin)
    claim = new_id()
    backend.create(name, FAST, key_id=claim)
    with backend.in_session() as session:
        backend.generate(session, name, FAST, claim)
    for _ in range(2):
        with pytest.raises(KeyMismatch, match="more than one key pair"):
            backend.find(name, key_id=claim)
    with backend.in_session() as session:
        assert len(list(session.get_objects({pkcs11.Attribute.ID: claim.bytes}))) == 4


def test_two_pairs_of_one_claim_give_way_to_a_new_one_when_it_is_created(softhsm: Any, name: str) -> None:
    backend = PKCS11KeyBackend("pkcs11", module=str(softhsm.module), token_label=softhsm.label, pin=softhsm.pin)
    claim = new_id()
    first = backend.create(name, FAST, key_id=claim)
    with backend.in_session() as session:
        backend.generate(session, name, FAST, claim)
    made = backend.create(name, FAST, key_id=claim)
    assert made.public_key != first.public_key
    assert backend.find(name, key_id=claim) == made
    with backend.in_session() as session:
        assert len(list(session.get_objects({pkcs11.Attribute.ID: claim.bytes}))) == 2


def test_half_a_pair_counts_as_absent_and_gives_way_to_a_new_one(softhsm: Any, name: str) -> None:
    backend = PKCS11KeyBackend("pkcs11", module=str(softhsm.module), token_label=softhsm.label, pin=softhsm.pin)
    claim = new_id()
    first = backend.create(name, FAST, key_id=claim)
    with backend.in_session() as session:
        session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, id=claim.bytes).destroy()
    assert backend.find(name, key_id=claim) is None
    second = backend.create(name, FAST, key_id=claim)
    assert second.public_key != first.public_key
    with backend.in_session() as session:
        assert len(list(session.get_objects({pkcs11.Attribute.ID: claim.bytes}))) == 2


WRONG_PIN = """
import sys, uuid
from keys.backends.pkcs11 import PKCS11KeyBackend
from keys.errors import KeyLoginRefused
backend = PKCS11KeyBackend("pkcs11", module=sys.argv[1], token_label=sys.argv[2], pin="999999")
for _ in range(2):
    try:
        backend.find("any", key_id=uuid.uuid4())
    except KeyLoginRefused as exc:
        print(exc)
print(backend.is_working())
"""


def test_refused_pin_is_not_tried_a_second_time(softhsm: Any) -> None:
    # In a process of its own: a login is the process's, and this one may have the right one already.
    arguments = [sys.executable, "-c", WRONG_PIN, str(softhsm.module), softhsm.label]
    first, second, available = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "refused the PIN" in first
    assert "not tried again" in second
    assert available == "False"
