"""Keys in the database, encrypted: the embedded default. AES-256-GCM under a data key each, wrapped by a key outside the database."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key, load_der_public_key

from audit.clock import database_now
from keys.backends.base import Capabilities, KeyBackend, KeyInfo, KeyRef, check_latest
from keys.backends.private_keys import remote_private_key
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyMismatch, KeyNotFound, UnsupportedKeySpec
from keys.models import LocalKeyMaterial
from keys.spec import KeySpec, facts_of, spki_der

log = logging.getLogger(__name__)

CACHED_KEYS = 256
_CURVES: dict[KeySpec, ec.EllipticCurve] = {
    KeySpec.EC_P256: ec.SECP256R1(),
    KeySpec.EC_P384: ec.SECP384R1(),
    KeySpec.EC_P521: ec.SECP521R1(),
}


class LocalKeyBackend(KeyBackend):
    """`kek_file`: 32 bytes in base64, made on first use (mode 0600); or `kek`: the same text from the environment."""

    capabilities = Capabilities(
        specs=frozenset({KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096, *_CURVES, KeySpec.ED25519}), rotates=True
    )

    def __init__(self, alias: str, *, kek_file: str | Path = "", kek: str = "") -> None:
        self.alias = alias
        self._kek_file, self._kek_text = kek_file, kek
        self._kek_bytes: bytes | None = None
        self._loaded: OrderedDict[tuple[UUID, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, name: str, spec: KeySpec, *, key_id: UUID) -> KeyInfo:
        if (found := self.find(name, key_id=key_id)) is not None:
            if found.spec is not spec:
                raise KeyMismatch(f"{name} exists as {found.spec}, not as {spec}.", next_step="Claim another name.")
            return found
        private_key = _generate(spec)
        self._store(key_id, 1, private_key)
        return self._info(name, self._row(key_id, 1))

    def create_many(self, wanted: Sequence[tuple[str, KeySpec, UUID]]) -> list[KeyInfo | KeyBackendError]:
        """RSA keys are generated in threads (OpenSSL lets go of the interpreter), stored one after another."""
        slow = [(spec, key_id) for _, spec, key_id in wanted if spec.family == "rsa"]
        if len(slow) < 2 or not self.is_available():  # without the key-encryption key each gets its own answer
            return super().create_many(wanted)
        existing = set(LocalKeyMaterial.objects.filter(key_id__in=[key_id for _, key_id in slow]).values_list("key_id", flat=True))
        missing = [(spec, key_id) for spec, key_id in slow if key_id not in existing]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for (_, key_id), private_key in zip(missing, pool.map(lambda one: _generate(one[0]), missing), strict=True):
                self._store(key_id, 1, private_key)
        return super().create_many(wanted)

    def find(self, name: str, *, key_id: UUID) -> KeyInfo | None:
        row = LocalKeyMaterial.objects.filter(key_id=key_id).order_by("-version").first()
        return self._info(name, row) if row else None

    def private_key(self, ref: KeyRef) -> Any:
        key = self._load(ref.key_id, ref.version)

        def sign(message: bytes, padding: Any, algorithm: Any) -> bytes:
            if padding is not None:
                return key.sign(message, padding, algorithm)  # type: ignore[no-any-return]
            return key.sign(message, ec.ECDSA(algorithm)) if algorithm is not None else key.sign(message)  # type: ignore[no-any-return]

        return remote_private_key(key.public_key(), sign)

    def rotate(self, ref: KeyRef, *, from_version: int, key_id: UUID) -> KeyInfo:
        """Each version is a claim's own row; a key is followed by one at most, which the database sees to."""
        if (made := LocalKeyMaterial.objects.filter(key_id=key_id).first()) is not None:
            return self._info(ref.name, made)
        old = self._row(ref.key_id, from_version)
        successor = LocalKeyMaterial.objects.filter(follows=ref.key_id).first()
        if successor is None:
            self._store(key_id, from_version + 1, _generate(self._info(ref.name, old).spec), follows=ref.key_id)
            successor = LocalKeyMaterial.objects.get(follows=ref.key_id)
        if successor.key_id != key_id:
            check_latest(self._info(ref.name, successor), ref, from_version)
        return self._info(ref.name, successor)

    def destroy(self, ref: KeyRef) -> None:
        LocalKeyMaterial.objects.filter(key_id=ref.key_id).delete()
        self.forget(ref)

    def forget(self, ref: KeyRef) -> None:
        with self._lock:
            for known in [known for known in self._loaded if known[0] == ref.key_id]:
                del self._loaded[known]

    def is_available(self) -> bool:
        try:
            self._kek()
        except KeyBackendError:
            return False
        return True

    def _store(self, key_id: UUID, version: int, private_key: Any, *, follows: UUID | None = None) -> None:
        dek, nonce = AESGCM.generate_key(256), os.urandom(12)
        plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        LocalKeyMaterial.objects.bulk_create(
            [
                LocalKeyMaterial(
                    backend=self.alias,
                    key_id=key_id,
                    version=version,
                    follows=follows,
                    kek_id=self._kek_id(),
                    wrapped_dek=aes_key_wrap_with_padding(self._kek(), dek),
                    nonce=nonce,
                    ciphertext=AESGCM(dek).encrypt(nonce, plain, _aad(key_id, version)),
                    public_key_der=spki_der(private_key.public_key()),
                    created_at=database_now(),
                )
            ],
            ignore_conflicts=True,  # of two workers with the same claim the first one's key stays, and both read it back
        )

    def _row(self, key_id: UUID, version: int) -> LocalKeyMaterial:
        row = LocalKeyMaterial.objects.filter(key_id=key_id, version=version).first()
        if row is None:
            raise KeyNotFound(f"The {self.alias} backend has no key {key_id} version {version}.")
        return row

    def _info(self, name: str, row: LocalKeyMaterial) -> KeyInfo:
        public_key: Any = load_der_public_key(bytes(row.public_key_der))
        ref = KeyRef(self.alias, name, row.version, f"{self.alias}/keys/{name}", row.key_id)
        return KeyInfo(ref, _spec_of(public_key), public_key, row.created_at, {"encrypted_under": row.kek_id})

    def _load(self, key_id: UUID, version: int) -> Any:
        """From this process's memory, as long as the row is there: another process may have destroyed it."""
        with self._lock:
            key = self._loaded.get((key_id, version))
            if key is not None:
                self._loaded.move_to_end((key_id, version))
        if key is not None and LocalKeyMaterial.objects.filter(key_id=key_id, version=version).exists():
            return key
        with self._lock:
            self._loaded.pop((key_id, version), None)
        key = self._decrypt(self._row(key_id, version))
        with self._lock:
            self._loaded[(key_id, version)] = key
            while len(self._loaded) > CACHED_KEYS:
                self._loaded.popitem(last=False)
        return key

    def _decrypt(self, row: LocalKeyMaterial) -> Any:
        try:
            dek = aes_key_unwrap_with_padding(self._kek(), bytes(row.wrapped_dek))
            plain = AESGCM(dek).decrypt(bytes(row.nonce), bytes(row.ciphertext), _aad(row.key_id, row.version))
        except (InvalidTag, InvalidUnwrap) as exc:
            raise KeyBackendUnavailable(
                f"The key-encryption key of the {self.alias} backend ({self._kek_id()}) does not open key {row.key_id}, "
                f"which was made under {row.kek_id}.",
                next_step="Put the right key file back; nothing was signed.",
            ) from exc
        # The ciphertext is authenticated and ours: validating RSA again would cost 45 to 315 ms for each key.
        return load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)

    def _kek(self) -> bytes:
        if self._kek_bytes is None:
            self._kek_bytes = self._read_kek()
        return self._kek_bytes

    def _kek_id(self) -> str:
        return hashlib.sha256(b"kek" + self._kek()).hexdigest()[:12]

    def _read_kek(self) -> bytes:
        text = self._kek_text or self._kek_from_file()
        try:
            kek = base64.b64decode(text, validate=True)
        except binascii.Error:
            kek = b""
        if len(kek) != 32:
            raise KeyBackendUnavailable(
                f"The key-encryption key of the {self.alias} backend is not 32 bytes in base64.",
                next_step="Restore the file from its backup.",
            )
        return kek

    def _kek_from_file(self) -> str:
        path = Path(self._kek_file)
        try:
            if not path.exists() and not LocalKeyMaterial.objects.filter(backend=self.alias).exists():
                self._make_kek(path)
            return path.read_text(encoding="ascii").strip()
        except OSError as exc:
            raise KeyBackendUnavailable(
                f"The key-encryption key {path} cannot be read ({exc.strerror}).",
                next_step="Restore it from its backup, or bring the offline copy back.",
            ) from exc

    def _make_kek(self, path: Path) -> None:
        try:
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write(base64.b64encode(secrets.token_bytes(32)).decode())
        except FileExistsError:
            return  # another process was first: its key counts
        log.warning("made a key-encryption key in %s; back it up: without it every key of this backend is lost", path)


def _aad(key_id: UUID, version: int) -> bytes:
    return f"keys:{key_id}:{version}".encode()


def _generate(spec: KeySpec) -> Any:
    if spec.family == "rsa":
        return rsa.generate_private_key(65537, spec.bits)
    if spec in _CURVES:
        return ec.generate_private_key(_CURVES[spec])
    if spec is KeySpec.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    raise UnsupportedKeySpec(f"The local backend makes no {spec.label} keys.", next_step="Ask for RSA, ECDSA or Ed25519.")


def _spec_of(public_key: Any) -> KeySpec:
    facts = facts_of(public_key)
    assert facts is not None
    return KeySpec(facts.name)
