"""A key backend in memory whose creations can be refused, or done and not answered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from keys.backends.base import Capabilities, KeyBackend, KeyInfo, KeyRef, check_latest
from keys.backends.private_keys import remote_private_key
from keys.errors import KeyBackendUnavailable, KeyMismatch, KeyNotFound, UnsupportedKeySpec
from keys.signing import sign_digest
from keys.spec import KeySpec


class KeyFault(StrEnum):
    """What happens to the next call of create."""

    NONE = "none"
    DOWN = "down"  # nothing is made
    ANSWER_LOST = "answer lost"  # the key is made, the caller never hears of it


class TwinKeyBackend(KeyBackend):
    """Like Vault's transit: a second create of a name answers with the old key."""

    capabilities = Capabilities(specs=frozenset({KeySpec.EC_P256, KeySpec.ED25519, KeySpec.RSA_2048}), rotates=True)

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.keys: dict[str, list[tuple[KeySpec, Any, datetime]]] = {}
        self.faults: list[KeyFault] = []
        self.reachable = True
        self.meanwhile: list[Callable[[], object]] = []  # what others do while the next key is being made
        self._lock = threading.Lock()

    def create(self, name: str, spec: KeySpec, *, key_id: UUID) -> KeyInfo:
        if self.meanwhile:
            self.meanwhile.pop()()
        with self._lock:
            fault = self.faults.pop(0) if self.faults else KeyFault.NONE
            self._check_reachable()
            if fault is KeyFault.DOWN:
                raise KeyBackendUnavailable("the twin is sealed")
            if name not in self.keys:
                self.keys[name] = [(spec, _generate(spec), datetime.now(tz=UTC))]
            if fault is KeyFault.ANSWER_LOST:
                raise KeyBackendUnavailable("the twin's answer was lost")
            if self.keys[name][-1][0] is not spec:
                raise KeyMismatch(f"{name} exists as another type")
            return self._info(name, len(self.keys[name]), key_id)

    def find(self, name: str, *, key_id: UUID) -> KeyInfo | None:
        with self._lock:
            self._check_reachable()
            return self._info(name, len(self.keys[name]), key_id) if name in self.keys else None

    def sign_digest(self, ref: KeyRef, digest: bytes) -> bytes:
        with self._lock:
            self._check_reachable()
            _, key, _ = self.keys[ref.name][ref.version - 1]
        return sign_digest(key, digest)

    def private_key(self, ref: KeyRef) -> Any:
        with self._lock:
            self._check_reachable()
            if ref.name not in self.keys:
                raise KeyNotFound(f"there is no key {ref.locator}")
            _, key, _ = self.keys[ref.name][ref.version - 1]

        def sign(message: bytes, padding: Any, algorithm: Any) -> bytes:
            if padding is not None:
                return key.sign(message, padding, algorithm)  # type: ignore[no-any-return]
            return key.sign(message, ec.ECDSA(algorithm)) if algorithm else key.sign(message)  # type: ignore[no-any-return]

        return remote_private_key(key.public_key(), sign)

    def rotate(self, ref: KeyRef, *, from_version: int, key_id: UUID) -> KeyInfo:
        with self._lock:
            fault = self.faults.pop(0) if self.faults else KeyFault.NONE
            self._check_reachable()
            if fault is KeyFault.DOWN:
                raise KeyBackendUnavailable("the twin is sealed")
            versions = self.keys.get(ref.name, [])
            check_latest(self._info(ref.name, len(versions), key_id) if versions else None, ref, from_version)
            spec = versions[-1][0]
            versions.append((spec, _generate(spec), datetime.now(tz=UTC)))
            if fault is KeyFault.ANSWER_LOST:
                raise KeyBackendUnavailable("the twin's answer was lost")
            return self._info(ref.name, len(versions), key_id)

    def destroy(self, ref: KeyRef) -> None:
        with self._lock:
            self._check_reachable()
            self.keys.pop(ref.name, None)

    def is_working(self) -> bool:
        return self.reachable

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise KeyBackendUnavailable("the twin is unreachable")

    def _info(self, name: str, version: int, key_id: UUID) -> KeyInfo:
        spec, key, created_at = self.keys[name][version - 1]
        return KeyInfo(KeyRef(self.alias, name, version, f"{self.alias}/keys/{name}", key_id), spec, key.public_key(), created_at)


def _generate(spec: KeySpec) -> Any:
    if spec is KeySpec.EC_P256:
        return ec.generate_private_key(ec.SECP256R1())
    if spec is KeySpec.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if spec is KeySpec.RSA_2048:
        return rsa.generate_private_key(65537, 2048)
    raise UnsupportedKeySpec(f"the twin makes no {spec.label} keys")
