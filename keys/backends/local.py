"""Keys in the database, encrypted: the embedded default. AES-256-GCM under a data key each, wrapped by a key outside the database."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key, load_der_public_key
from django.db import IntegrityError, transaction

from db.clock import database_now
from db.rows import insert, select_keys
from keys.backends.base import Capabilities, KeyBackend, KeyInfo, KeyRef, check_latest
from keys.backends.kek import KeyEncryptionKey
from keys.backends.private_keys import remote_private_key
from keys.errors import KeyBackendError, KeyBackendUnavailable, KeyMismatch, KeyNotFound, UnsupportedKeySpec
from keys.models import LocalKeyMaterial
from keys.signing import ecdsa_with, sign_digest
from keys.spec import KeySpec, facts_of, spki_der

CACHED_KEYS = 256
_CURVES: dict[KeySpec, ec.EllipticCurve] = {
    KeySpec.EC_P256: ec.SECP256R1(),
    KeySpec.EC_P384: ec.SECP384R1(),
    KeySpec.EC_P521: ec.SECP521R1(),
}


class LocalKeyBackend(KeyBackend):
    """`kek_file`: 32 bytes in base64, made by `set_up` (mode 0600); or `kek`: the same text from the environment."""

    capabilities = Capabilities(
        specs=frozenset({KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096, *_CURVES, KeySpec.ED25519}), rotates=True
    )

    def __init__(self, alias: str, *, kek_file: str | Path = "", kek: str = "") -> None:
        self.alias = alias
        self._kek = KeyEncryptionKey(alias, file=Path(kek_file), text=kek)
        self.loaded: OrderedDict[tuple[UUID, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, name: str, spec: KeySpec, *, key_id: UUID) -> KeyInfo:
        (made,) = self.create_many([(name, spec, key_id)])
        if isinstance(made, KeyBackendError):
            raise made
        return made

    def create_many(self, wanted: Sequence[tuple[str, KeySpec, UUID]]) -> list[KeyInfo | KeyBackendError]:
        """Make a batch and store it in one COPY. RSA keys are generated in threads, because OpenSSL releases the interpreter's lock."""
        results = self.find_many([(name, key_id) for name, _, key_id in wanted])
        absent = [one for one, found in zip(wanted, results, strict=True) if found is None]
        made = self._make([(name, 1, None, spec, key_id) for name, spec, key_id in absent])
        return [
            _of_spec(made[key_id] if found is None else found, name, spec)
            for (name, spec, key_id), found in zip(wanted, results, strict=True)
        ]

    def _make(self, orders: Sequence[_Order]) -> dict[UUID, KeyInfo | KeyBackendError]:
        """Return one result for each claim: the key made now, or the one that another worker with the same claim made first."""
        results: dict[UUID, KeyInfo | KeyBackendError] = {}
        try:
            self._check_kek()
        except KeyBackendError as exc:
            return {order[4]: exc for order in orders}
        rows: list[LocalKeyMaterial] = []
        now = database_now()
        for order, private_key in zip(orders, _generate_many([order[3] for order in orders]), strict=True):
            name, version, follows, _, key_id = order
            if isinstance(private_key, KeyBackendError):
                results[key_id] = private_key
                continue
            row = LocalKeyMaterial(**self._encrypted(key_id, version, private_key, follows=follows), created_at=now)
            rows.append(row)
            results[key_id] = self._info(name, row, private_key.public_key())
        if not _insert(rows):
            # Of two workers with the same claim the first one's key stays, and both return it. The key that was made in vain is
            # only in this process's memory.
            stored = {row.key_id: row for row in _readable(row.key_id for row in rows)}
            names = {key_id: name for name, _, _, _, key_id in orders}
            for row in rows:
                kept = stored.get(row.key_id)
                results[row.key_id] = (
                    self._info(names[row.key_id], kept) if kept else KeyMismatch(f"{names[row.key_id]} was rotated already.")
                )
        return results

    def find(self, name: str, *, key_id: UUID) -> KeyInfo | None:
        row = next(iter(_readable([key_id])), None)
        return self._info(name, row) if row else None

    def find_many(self, wanted: Sequence[tuple[str, UUID]]) -> list[KeyInfo | KeyBackendError | None]:
        rows = {row.key_id: row for row in _readable(key_id for _, key_id in wanted)}
        return [self._info(name, rows[key_id]) if key_id in rows else None for name, key_id in wanted]

    def private_key(self, ref: KeyRef) -> Any:
        return _remote(self.load(ref))

    def private_keys(self, refs: Sequence[KeyRef]) -> list[Any]:
        """Return one result of `private_key`, or its KeyBackendError, for each; one query for all of them."""
        rows = {(row.key_id, row.version): row for row in LocalKeyMaterial.objects.filter(key_id__in=[ref.key_id for ref in refs])}

        def opened(ref: KeyRef) -> Any:
            row = rows.get((ref.key_id, ref.version)) or self._row(ref.key_id, ref.version)
            return _remote(self._kept(ref) or self._decrypt(row))

        return self.side_by_side(refs, opened)

    def sign_digest(self, ref: KeyRef, digest: bytes) -> bytes:
        return sign_digest(self.load(ref), digest)

    def rotate(self, ref: KeyRef, *, from_version: int, key_id: UUID) -> KeyInfo:
        """Make a version: a row of its own for the claim. A constraint lets at most one key follow another."""
        if (made := self.find(ref.name, key_id=key_id)) is not None:
            return made
        old = self._info(ref.name, self._row(ref.key_id, from_version))
        successor = LocalKeyMaterial.objects.filter(follows=ref.key_id).first()
        if successor is not None:
            check_latest(self._info(ref.name, successor), ref, from_version)
        rotated = self._make([(ref.name, from_version + 1, ref.key_id, old.spec, key_id)])[key_id]
        if isinstance(rotated, KeyBackendError):
            raise rotated
        return rotated

    def destroy(self, ref: KeyRef) -> None:
        LocalKeyMaterial.objects.filter(key_id=ref.key_id).delete()
        self.forget(ref)

    def forget(self, ref: KeyRef) -> None:
        with self._lock:
            for known in [known for known in self.loaded if known[0] == ref.key_id]:
                del self.loaded[known]

    def set_up(self) -> str:
        made = self._kek.make(key_exists=LocalKeyMaterial.objects.filter(backend=self.alias).exists())
        return f"key-encryption key of {self.alias}" if made else ""

    def is_working(self) -> bool:
        try:
            self._check_kek()
        except KeyBackendError:
            return False
        return True

    def _check_kek(self) -> None:
        """Raises KeyBackendUnavailable unless it is there and is the one that the newest key was encrypted under."""
        newest = LocalKeyMaterial.objects.filter(backend=self.alias).order_by("-pk").values_list("kek_id", flat=True).first()
        if newest not in {None, self._kek.id}:
            raise self._wrong_kek(newest)

    def _wrong_kek(self, made_under: str | None) -> KeyBackendUnavailable:
        error = KeyBackendUnavailable(
            f"The key-encryption key of the {self.alias} backend is {self._kek.id}, but its keys were made under {made_under}.",
            next_step="Put the right key file back; nothing was signed or made under this one.",
        )
        self._kek.forget()
        return error

    def _encrypted(self, key_id: UUID, version: int, private_key: Any, *, follows: UUID | None) -> dict[str, Any]:
        """Return the columns of its row, but for when it was made: that is known as it is stored."""
        # A data key for each row: a nonce is never used twice under one key, and a new key-encryption key needs only new wraps.
        # The claim and version are authenticated too, so that two rows cannot be exchanged for each other.
        dek, nonce = AESGCM.generate_key(256), os.urandom(12)
        plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return {
            "backend": self.alias,
            "key_id": key_id,
            "version": version,
            "follows": follows,
            "kek_id": self._kek.id,
            "wrapped_dek": aes_key_wrap_with_padding(self._kek.read(), dek),
            "nonce": nonce,
            "ciphertext": AESGCM(dek).encrypt(nonce, plain, _aad(key_id, version)),
            "public_key_der": spki_der(private_key.public_key()),
        }

    def _row(self, key_id: UUID, version: int) -> LocalKeyMaterial:
        row = LocalKeyMaterial.objects.filter(key_id=key_id, version=version).first()
        if row is None:
            raise KeyNotFound(f"The {self.alias} backend has no key {key_id} version {version}.")
        return row

    def _info(self, name: str, row: LocalKeyMaterial, public_key: Any = None) -> KeyInfo:
        public_key = public_key or load_der_public_key(bytes(row.public_key_der))
        return KeyInfo(
            self._ref(name, row.key_id, row.version), _spec_of(public_key), public_key, row.created_at, {"encrypted_under": row.kek_id}
        )

    def _ref(self, name: str, key_id: UUID, version: int) -> KeyRef:
        return KeyRef(self.alias, name, version, f"{self.alias}/keys/{name}", key_id)

    def load(self, ref: KeyRef) -> Any:
        """Return the key from this process's memory while its row exists: another process may have destroyed it."""
        key, place = self._kept(ref), (ref.key_id, ref.version)
        if key is not None and select_keys(LocalKeyMaterial, key_id=ref.key_id, version=ref.version):
            return key
        with self._lock:
            self.loaded.pop(place, None)
        key = self._decrypt(self._row(*place))
        with self._lock:
            self.loaded[place] = key
            while len(self.loaded) > CACHED_KEYS:
                self.loaded.popitem(last=False)
        return key

    def _kept(self, ref: KeyRef) -> Any:
        with self._lock:
            key = self.loaded.get((ref.key_id, ref.version))
            if key is not None:
                self.loaded.move_to_end((ref.key_id, ref.version))
        return key

    def _decrypt(self, row: LocalKeyMaterial) -> Any:
        try:
            dek = aes_key_unwrap_with_padding(self._kek.read(), bytes(row.wrapped_dek))
            plain = AESGCM(dek).decrypt(bytes(row.nonce), bytes(row.ciphertext), _aad(row.key_id, row.version))
        except (InvalidTag, InvalidUnwrap) as exc:
            if row.kek_id != self._kek.id:
                raise self._wrong_kek(row.kek_id) from exc
            raise KeyMismatch(
                f"The row of key {row.key_id} in the {self.alias} backend was changed; it does not open any more.",
                next_step="Find out who wrote to the database. The row's backup opens; else ask for a certificate with a new key.",
            ) from exc
        # The ciphertext is authenticated and ours: validating RSA again would cost 45 to 315 ms for each key.
        return load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)


# name, version, the claim that it follows, spec, claim
_Order: TypeAlias = tuple[str, int, UUID | None, KeySpec, UUID]


def _readable(key_ids: Iterable[UUID]) -> list[LocalKeyMaterial]:
    """Return rows of these claims without what is secret in them."""
    return list(LocalKeyMaterial.objects.filter(key_id__in=list(key_ids)).defer("wrapped_dek", "nonce", "ciphertext"))


def _insert(rows: Sequence[LocalKeyMaterial]) -> bool:
    """Store rows. Returns whether all were stored; else only those were whose claim had no key yet."""
    try:
        with transaction.atomic():
            insert(rows)
    except IntegrityError:
        LocalKeyMaterial.objects.bulk_create(rows, ignore_conflicts=True)
        return False
    return True


def _of_spec(found: KeyInfo | KeyBackendError, name: str, spec: KeySpec) -> KeyInfo | KeyBackendError:
    if isinstance(found, KeyInfo) and found.spec is not spec:
        return KeyMismatch(f"{name} exists as {found.spec}, not as {spec}.", next_step="Claim another name.")
    return found


def _remote(key: Any) -> Any:
    def sign(message: bytes, padding: Any, algorithm: Any) -> bytes:
        if padding is not None:
            return key.sign(message, padding, algorithm)  # type: ignore[no-any-return]
        return key.sign(message, ecdsa_with(algorithm)) if algorithm is not None else key.sign(message)  # type: ignore[no-any-return]

    return remote_private_key(key.public_key(), sign)


def _aad(key_id: UUID, version: int) -> bytes:
    return f"keys:{key_id}:{version}".encode()


def _generate_many(specs: Sequence[KeySpec]) -> list[Any]:
    """Return a private key or a KeyBackendError for each."""
    if sum(spec.family == "rsa" for spec in specs) < 2:
        return [_generated(spec) for spec in specs]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(_generated, specs))


def _generated(spec: KeySpec) -> Any:
    try:
        return _generate(spec)
    except KeyBackendError as exc:
        return exc


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
