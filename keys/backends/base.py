"""The interface of a key backend: it makes keys that do not leave it, and signs with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from keys.errors import KeyBackendError, KeyMismatch, KeyNotFound, KeyOperationRefused
from keys.signing import sign_message
from keys.spec import KeySpec


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Where a key is, never the key itself. `locator` is for people, such as transit/keys/api-example-com.

    `spki_der` is its public key where the caller has it on record, so that a backend behind a network need not be asked for
    it again. Callers compare it with what was signed.
    """

    backend: str
    name: str
    version: int
    locator: str
    key_id: UUID
    spki_der: bytes = field(default=b"", compare=False, repr=False)


T = TypeVar("T")
R = TypeVar("R")


def attempt(act: Callable[[T], R], item: T) -> R | KeyBackendError:
    """Return what `act` returns for the item, or the KeyBackendError that it raises."""
    try:
        return act(item)
    except KeyBackendError as exc:
        return exc


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key that exists. `evidence` is what the backend reports about its origin and about what it refuses to do with it."""

    ref: KeyRef
    spec: KeySpec
    public_key: PublicKeyTypes
    created_at: datetime | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`rotates`: a name can have several versions. Where it cannot, a key is followed by one of another name."""

    specs: frozenset[KeySpec]
    batch_sign: bool = False
    rotates: bool = False


class KeyBackend(ABC):
    """One backend behind an alias of settings.KEY_BACKENDS. Every backend passes tests/contracts/test_key_backend.py.

    All methods raise KeyBackendError and nothing else; `retryable` says whether to try again.
    """

    alias: str
    capabilities: Capabilities

    @abstractmethod
    def create(self, name: str, spec: KeySpec, *, key_id: UUID) -> KeyInfo:
        """Make a key under a name that the caller has claimed. The same claim again returns the same key."""

    def create_many(self, wanted: Sequence[tuple[str, KeySpec, UUID]]) -> list[KeyInfo | KeyBackendError]:
        """Return one result for each, in order; one that fails does not stop the others."""
        return self.side_by_side(wanted, lambda one: self.create(one[0], one[1], key_id=one[2]))

    @abstractmethod
    def find(self, name: str, *, key_id: UUID) -> KeyInfo | None:
        """Return the latest version under that name, or the key of that very claim where the backend knows claims; None only when it
        certainly has none.
        """

    def find_many(self, wanted: Sequence[tuple[str, UUID]]) -> list[KeyInfo | KeyBackendError | None]:
        """Return one result of `find` for each (name, key_id), in order."""
        return self.side_by_side(wanted, lambda one: self.find(one[0], key_id=one[1]))

    @abstractmethod
    def private_key(self, ref: KeyRef) -> Any:
        """Return a pyca private key whose `sign` is done by the backend; everything that would reveal the key is refused."""

    def private_keys(self, refs: Sequence[KeyRef]) -> list[Any]:
        """Return one result of `private_key`, or its KeyBackendError, for each, in order."""
        return self.side_by_side(refs, self.private_key)

    def side_by_side(self, items: Sequence[T], act: Callable[[T], R]) -> list[R | KeyBackendError]:
        """Call `act` for each, in order of `items`; one that raises KeyBackendError does not stop the others. A backend behind a network
        does several at a time, in threads of its own: `act` must not use the database, nor this method.
        """
        return [attempt(act, item) for item in items]

    def sign_many(self, ref: KeyRef, messages: Sequence[bytes]) -> list[bytes]:
        """Return signatures over several messages with one key, in the scheme that certificates use.

        No messages: only checks that the key could be used.
        """
        key = self.private_key(ref)
        return [sign_message(key, message) for message in messages]

    def sign_digest(self, ref: KeyRef, digest: bytes) -> bytes:
        """Return a signature over a message that is too large to pass on, such as a CRL with a million entries: `digest` is its digest
        under `keys.signing.signing_hash`. Raises KeyOperationRefused where a backend or a kind of key signs whole messages only.
        """
        raise KeyOperationRefused(f"The backend {self.alias} signs whole messages only.", next_step="Hand over the message.")

    @abstractmethod
    def rotate(self, ref: KeyRef, *, from_version: int, key_id: UUID) -> KeyInfo:
        """Make version `from_version` + 1 under the name of `ref`, for the claim `key_id`; the older versions stay as they are.

        Raises KeyMismatch when the latest version is not `from_version`. Whether a later one is this claim's own, made before a
        crash, is for keys.lifecycle to decide, which looks with `find` before it calls. Raises KeyOperationRefused where
        `capabilities.rotates` is false.
        """

    def rotate_many(self, wanted: Sequence[tuple[KeyRef, int, UUID]]) -> list[KeyInfo | KeyBackendError]:
        """Return one result for each (ref, from_version, key_id), in order; one that fails does not stop the others."""
        return self.side_by_side(wanted, lambda one: self.rotate(one[0], from_version=one[1], key_id=one[2]))

    @abstractmethod
    def destroy(self, ref: KeyRef) -> None:
        """Destroy the key permanently, and all its versions where a name has several. A key that is gone already is success.

        No check comes first: a key that somebody made exportable must be destroyed too.
        """

    def forget(self, ref: KeyRef) -> None:  # noqa: B027 - most keep nothing in this process
        """Forget what this process has cached of a key that must not be used any more. Never raises."""

    def set_up(self) -> str:
        """Make what an installation must have before its first key. Returns what was made in words,
        "" for nothing.
        """
        return ""

    @abstractmethod
    def is_working(self) -> bool:
        """Return whether a key could be made and used now, as far as can be seen without making one: checks
        what the work needs (the login, the mount, the rights), not a health page. Never raises.
        """


def check_latest(latest: KeyInfo | None, ref: KeyRef, from_version: int) -> None:
    """Raises KeyNotFound or KeyMismatch unless the latest version of a name is the one that a rotation starts from."""
    if latest is None:
        raise KeyNotFound(f"There is no key {ref.locator} to rotate.", next_step="Renew with a new key, which gets another name.")
    if latest.ref.version != from_version:
        raise KeyMismatch(
            f"The latest version of {ref.locator} is {latest.ref.version}, not {from_version}: it was rotated by someone else.",
            next_step="Find out by whom. A new key can be claimed under another name.",
        )
