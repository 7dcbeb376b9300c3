"""Keys in an HSM through PKCS#11. CKA_ID is the claim's UUID: a key is looked up by it, never by a label that two could share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pkcs11
import pkcs11.exceptions as p11
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from keys.backends.base import Capabilities, KeyBackend, KeyInfo, KeyRef
from keys.backends.private_keys import remote_private_key
from keys.errors import (
    KeyBackendError,
    KeyBackendUnavailable,
    KeyLoginRefused,
    KeyMadeTwice,
    KeyMismatch,
    KeyNotFound,
    KeyOperationRefused,
    UnsupportedKeySpec,
)
from keys.signing import signing_hash
from keys.spec import KeySpec, facts_of, spki_der

_CURVES = {KeySpec.EC_P256: "secp256r1", KeySpec.EC_P384: "secp384r1", KeySpec.EC_P521: "secp521r1"}
_RSA = (KeySpec.RSA_2048, KeySpec.RSA_3072, KeySpec.RSA_4096)
_PKCS1 = {
    "sha256": pkcs11.Mechanism.SHA256_RSA_PKCS,
    "sha384": pkcs11.Mechanism.SHA384_RSA_PKCS,
    "sha512": pkcs11.Mechanism.SHA512_RSA_PKCS,
}
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo around a SHA-256
_EVIDENCE = {
    "local": pkcs11.Attribute.LOCAL,
    "never_extractable": pkcs11.Attribute.NEVER_EXTRACTABLE,
    "always_sensitive": pkcs11.Attribute.ALWAYS_SENSITIVE,
}
PAUSES = (0.05, 0.2)  # seconds
# The token or its library is gone: forget the login and look for it at the next call, without a restart.
_GONE = (
    p11.TokenNotPresent,
    p11.TokenNotRecognised,
    p11.NoSuchToken,
    p11.DeviceRemoved,
    p11.DeviceError,
    p11.SessionHandleInvalid,
    p11.SessionClosed,
    p11.GeneralError,
    p11.SlotIDInvalid,
    p11.UserNotLoggedIn,
    # Old handles, or a token that is overloaded: they say nothing about the key.
    p11.KeyHandleInvalid,
    p11.ObjectHandleInvalid,
    p11.OperationActive,
    p11.OperationNotInitialized,
    p11.FunctionFailed,
    p11.DeviceMemory,
    p11.HostMemory,
    p11.SessionCount,
)


_living: weakref.WeakSet[PKCS11KeyBackend] = weakref.WeakSet()


class PKCS11KeyBackend(KeyBackend):
    """`module`: the token's library; `token_label` and `pin`: which token, and its user PIN.

    One login a process, one session a thread; both are opened anew after a fork and after the token came back.
    """

    capabilities = Capabilities(specs=frozenset({*_RSA, *_CURVES, KeySpec.ED25519}))

    def __init__(self, alias: str, *, module: str, token_label: str, pin: str) -> None:
        self.alias = alias
        self._module, self._label, self._pin = str(module), token_label, pin
        self._pin_refused = False
        self._stale = False
        self._lock = threading.RLock()
        self._forget()
        _living.add(self)

    def _forget(self) -> None:
        """Drop the login and every thread's session; the next use opens new ones."""
        self._login: Any = None
        self._sessions = threading.local()

    def forget_library(self) -> None:
        """Begin as a new process does: no session, and no lock that another thread held when this process was forked."""
        self._lock = threading.RLock()
        self._forget()
        with contextlib.suppress(p11.PKCS11Error, OSError):  # a library that was never loaded here has nothing to forget
            pkcs11.lib(self._module).reinitialize()

    def create(self, name: str, spec: KeySpec, *, key_id: UUID) -> KeyInfo:
        if spec not in self.capabilities.specs:
            raise UnsupportedKeySpec(f"The token makes no {spec.label} keys.", next_step="Ask for RSA, ECDSA or Ed25519.")
        # 1. A token numbers nothing and lets two objects have one label, so the claim's UUID decides what is this claim's pair.
        try:
            found = self.find(name, key_id=key_id)
        except KeyMadeTwice:  # only a claim that has no key on record gets here, so neither pair is in use
            found = None
        if found is not None:
            if found.spec is not spec:
                raise KeyMismatch(f"{found.ref.locator} exists as {found.spec}, not as {spec}.", next_step="Claim another name.")
            return found
        # 2. Destroy what this claim has left, half a pair or two of them, and make the pair.
        with self.in_session() as session:
            for left in session.get_objects({pkcs11.Attribute.ID: key_id.bytes}):
                left.destroy()
            self.generate(session, name, spec, key_id)
        # 3. Look again. A process that did the same at this moment has made a second pair, and the next try begins with neither.
        try:
            made = self.find(name, key_id=key_id)
        except KeyMadeTwice as exc:
            raise KeyBackendUnavailable(
                f"Another process made a key pair for {name} at the same moment; none is used.", next_step="It is tried again."
            ) from exc
        if made is None:
            raise KeyBackendUnavailable(f"The token made {name} but does not show it.", next_step="Look at the token's own log.")
        return made

    def generate(self, session: Any, name: str, spec: KeySpec, key_id: UUID) -> None:
        private = {
            pkcs11.Attribute.TOKEN: True,
            pkcs11.Attribute.PRIVATE: True,
            pkcs11.Attribute.SENSITIVE: True,
            pkcs11.Attribute.EXTRACTABLE: False,
        }
        options: dict[str, Any] = {"store": True, "id": key_id.bytes, "label": name, "private_template": private}
        if spec in _RSA:
            session.generate_keypair(pkcs11.KeyType.RSA, spec.bits, **options)
        elif spec is KeySpec.ED25519:
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC_EDWARDS, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.101.112")}, local=True
            )
            parameters.generate_keypair(mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, **options)
        else:
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[spec])}, local=True
            )
            parameters.generate_keypair(**options)

    def find(self, name: str, *, key_id: UUID) -> KeyInfo | None:
        """Find the pair. Half a pair, which a crash left, counts as absent. It is not destroyed: the other half may be hidden now."""
        with self.in_session() as session:
            publics = list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY, pkcs11.Attribute.ID: key_id.bytes}))
            privates = list(
                session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, pkcs11.Attribute.ID: key_id.bytes})
            )
            if len(publics) > 1 or len(privates) > 1:
                raise KeyMadeTwice(
                    f"The token holds more than one key pair under the id {key_id.hex} ({name}); none is used.",
                    next_step="Claim another name; look at the token with pkcs11-tool --list-objects.",
                )
            if len(publics) != 1 or len(privates) != 1:
                _check_present(session)
                return None
            public_key = _public_key(publics[0])
            evidence = {what: bool(privates[0][attribute]) for what, attribute in _EVIDENCE.items()}
        facts = facts_of(public_key)
        if facts is None or not all(evidence.values()):
            raise KeyMismatch(
                f"The key {name} on the token did not originate there, or could have been extracted.",
                next_step="It is not used; claim another name.",
            )
        return KeyInfo(self._ref(name, key_id), KeySpec(facts.name), public_key, None, evidence)

    def _ref(self, name: str, key_id: UUID) -> KeyRef:
        return KeyRef(self.alias, name, 1, f"pkcs11:token={self._label};id={key_id.hex}", key_id)

    def private_key(self, ref: KeyRef) -> Any:
        found = self.find(ref.name, key_id=ref.key_id)
        if found is None:
            raise KeyNotFound(f"The token has no key {ref.locator}.")

        def sign(message: bytes, _padding: Any, algorithm: Any) -> bytes:
            # The key is looked up again for each signature: a handle is worth nothing after the token was away.
            with self.in_session() as session:
                key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, id=ref.key_id.bytes)
                return _sign(key, message, algorithm)

        return remote_private_key(found.public_key, sign)

    def sign_digest(self, ref: KeyRef, digest: bytes) -> bytes:
        if signing_hash(self.private_key(ref).public_key()) is None:
            return super().sign_digest(ref, digest)
        with self.in_session() as session:
            return _sign_digest(session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, id=ref.key_id.bytes), digest)

    def rotate(self, ref: KeyRef, *, from_version: int, key_id: UUID) -> KeyInfo:
        raise KeyOperationRefused(
            "A key on a token has one version; a new key is claimed under a new name.", next_step="Renew with a new key."
        )

    def destroy(self, ref: KeyRef) -> None:
        with self.in_session() as session:
            things = list(session.get_objects({pkcs11.Attribute.ID: ref.key_id.bytes}))
            if not things:
                _check_present(session)
            for thing in things:
                thing.destroy()

    def is_working(self) -> bool:
        return self._answers() or self._answers()  # the second time with a new login, if the token was away and is back

    def _answers(self) -> bool:
        try:
            with self.in_session() as session:
                _check_present(session)
        except KeyBackendError:
            return False
        return True

    @contextlib.contextmanager
    def in_session(self) -> Iterator[Any]:
        """Yield this thread's session. Raises KeyBackendError and nothing else."""
        try:
            yield self._session()
            _clear_openssl_errors()
        except KeyBackendError:
            raise
        except p11.NoSuchKey as exc:
            raise self._not_found() from exc
        except _GONE as exc:
            raise self._gone(exc) from exc
        except p11.PKCS11Error as exc:
            raise KeyOperationRefused(
                f"The token {self._label} refused ({type(exc).__name__}).", next_step="Look at the token's own log."
            ) from exc

    def _not_found(self) -> KeyBackendError:
        try:
            _check_present(self._session())
        except _GONE as exc:
            return self._gone(exc)
        return KeyNotFound(f"The token {self._label} has no such key.")

    def _gone(self, exc: Exception) -> KeyBackendUnavailable:
        self._forget()
        self._stale = True
        return KeyBackendUnavailable(
            f"The token {self._label} is not there ({type(exc).__name__}).",
            next_step="Plug it in or start its service; requests that wait continue automatically.",
        )

    def _session(self) -> Any:
        session = getattr(self._sessions, "open", None)
        if session is None:
            with self._lock:
                session = self._sessions.open = self._open()
        return session

    def _open(self) -> Any:
        if self._pin_refused:
            raise KeyLoginRefused(
                f"The PIN of token {self._label} was refused and is not tried again, lest the token lock.",
                next_step="Correct the PIN in the settings and restart this process.",
            )
        try:
            library = pkcs11.lib(self._module)
        except (RuntimeError, OSError) as exc:
            raise KeyBackendUnavailable(
                f"The PKCS#11 library {self._module} cannot be loaded.", next_step="Correct `module` in KEY_BACKENDS, or install it."
            ) from exc
        try:
            if self._stale:
                library.reinitialize()  # else slots and tokens are those of the first look
                self._stale = False
            token = self.find_token(library)
            if self._login is None:
                if token.flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
                    raise KeyLoginRefused(
                        f"The token {self._label} will lock after one more wrong PIN, so no login is tried.",
                        next_step="Correct the PIN in the settings; a login by hand (`pkcs11-tool --login --test`) resets the count.",
                    )
                self._login = token.open(rw=True, user_pin=self._pin)  # the login belongs to the process and stays with this session
            return token.open(rw=True)
        except (p11.PinIncorrect, p11.PinInvalid, p11.PinLenRange) as exc:
            self._pin_refused = True  # the token counts the tries of all processes: one each is what we may spend
            raise KeyLoginRefused(
                f"The token {self._label} refused the PIN.",
                next_step="Correct the PIN in the settings and restart this process.",
            ) from exc
        except p11.PinLocked as exc:
            raise KeyLoginRefused(
                f"The token {self._label} is locked after wrong PINs.", next_step="Its security officer must reset the PIN."
            ) from exc
        except p11.UserAlreadyLoggedIn:
            self._login = token
            return token.open(rw=True)

    def find_token(self, library: Any) -> Any:
        """Find the token; once more where the library fails, as SoftHSM does while another process writes to the token."""
        for pause in PAUSES:
            try:
                return library.get_token(token_label=self._label)
            except p11.GeneralError:
                time.sleep(pause)
        return library.get_token(token_label=self._label)


def _forget_all() -> None:
    for backend in list(_living):
        backend.forget_library()


os.register_at_fork(after_in_child=_forget_all)


def _check_present(session: Any) -> None:
    """Raise one of _GONE when the token is away, or was since this session began: such a session shows no keys, without an error."""
    session.token.slot.get_token()


def _clear_openssl_errors() -> None:
    """Empty this thread's error queue of OpenSSL, by asking hashlib for a digest that is not there.

    A token's library that uses the process's own OpenSSL (SoftHSM) may leave entries in it, and the next TLS call on this
    thread would report them as its own.
    """
    with contextlib.suppress(ValueError):
        hashlib.new("no-such-digest")


def _public_key(key: Any) -> Any:
    if key.key_type == pkcs11.KeyType.RSA:
        return load_der_public_key(_rsa_spki(key))
    if key.key_type == pkcs11.KeyType.EC_EDWARDS:
        # CKA_EC_POINT is an OCTET STRING around the point; some tokens give the 32 bytes bare.
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes(key[pkcs11.Attribute.EC_POINT])[-32:])
    return load_der_public_key(encode_ec_public_key(key))


def _rsa_spki(key: Any) -> bytes:
    numbers = rsa.RSAPublicNumbers(
        int.from_bytes(key[pkcs11.Attribute.PUBLIC_EXPONENT], "big"), int.from_bytes(key[pkcs11.Attribute.MODULUS], "big")
    )
    return spki_der(numbers.public_key())


def _sign(key: Any, message: bytes, algorithm: Any) -> bytes:
    if key.key_type == pkcs11.KeyType.EC_EDWARDS:
        return bytes(key.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
    if key.key_type == pkcs11.KeyType.RSA:
        return bytes(key.sign(message, mechanism=_PKCS1[algorithm.name]))
    # Not every token hashes for ECDSA (SoftHSM does not), so the digest is made here.
    return _ecdsa(key, hashlib.new(algorithm.name, message).digest())


def _ecdsa(key: Any, digest: bytes) -> bytes:
    """Return the DER of what the token returns: raw r and s, each half."""
    raw = bytes(key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def _sign_digest(key: Any, digest: bytes) -> bytes:
    """Sign a digest. For RSA it is wrapped here as the token would have done it (PKCS#1 v1.5 with SHA-256, RFC 8017 9.2)."""
    if key.key_type == pkcs11.KeyType.RSA:
        return bytes(key.sign(_SHA256_INFO + digest, mechanism=pkcs11.Mechanism.RSA_PKCS))
    return _ecdsa(key, digest)
