"""Private keys that are elsewhere, as pyca sees them: subclasses of its own key classes that forward `sign()` and nothing else.

So one builder makes CSRs, certificates, CRLs and OCSP responses whether the key is in Vault, in an HSM or on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from keys.errors import KeyOperationRefused, UnsupportedKeySpec

# (message, padding or None, hash or None) -> signature; the message is whole, never a digest
Signer = Callable[[bytes, Any, Any], bytes]


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise KeyOperationRefused("This key does not leave its backend; it can only sign.", next_step="Use sign(), or ask for a key elsewhere.")


def _refused_scheme(what: str) -> KeyOperationRefused:
    return KeyOperationRefused(
        f"Keys in a backend do not sign with {what}.",
        next_step="Use SHA-256, SHA-384 or SHA-512 with ECDSA or PKCS#1 v1.5.",
    )


def _check_hash(algorithm: Any) -> None:
    """Check that it is a hash of the whole message that every backend has. A digest made elsewhere (`Prehashed`) is none."""
    if not isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise _refused_scheme(getattr(algorithm, "name", type(algorithm).__name__))


def _check_padding(scheme: Any) -> None:
    """Check that it is PKCS#1 v1.5, which X.509 needs. pyca does not say publicly how a PSS scheme is set up, and Vault and
    tokens sign with some of its salts and masks only, so PSS is refused (docs/decisions/0036).
    """
    if not isinstance(scheme, padding.PKCS1v15):
        raise _refused_scheme(getattr(scheme, "name", type(scheme).__name__))


class _Remote:
    """State and refusals that the three kinds share."""

    def __init__(self, public_key: Any, signer: Signer) -> None:
        self._public_key = public_key
        self._signer = signer

    def public_key(self) -> Any:
        return self._public_key

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Any:
        return self

    private_bytes = private_numbers = private_bytes_raw = decrypt = exchange = _refuse


class RemoteRSAPrivateKey(_Remote, rsa.RSAPrivateKey):
    """RSA: `sign(data, padding, hash)`. Raises KeyOperationRefused for a scheme that not every
    backend has, before any backend is called.
    """

    @property
    def key_size(self) -> int:
        return int(self._public_key.key_size)

    def sign(self, data: Any, padding: Any, algorithm: Any) -> bytes:
        _check_hash(algorithm)
        _check_padding(padding)
        return self._signer(bytes(data), padding, algorithm)


class RemoteECPrivateKey(_Remote, ec.EllipticCurvePrivateKey):
    """ECDSA: `sign(data, ECDSA(hash))` returns the DER of r and s."""

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve  # type: ignore[no-any-return]

    @property
    def key_size(self) -> int:
        return int(self._public_key.curve.key_size)

    def sign(self, data: Any, signature_algorithm: Any) -> bytes:
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise _refused_scheme(type(signature_algorithm).__name__)
        _check_hash(signature_algorithm.algorithm)
        return self._signer(bytes(data), None, signature_algorithm.algorithm)


class RemoteEd25519PrivateKey(_Remote, ed25519.Ed25519PrivateKey):
    """Ed25519: `sign(data)`."""

    def sign(self, data: Any) -> bytes:
        return self._signer(bytes(data), None, None)


def remote_private_key(public_key: PublicKeyTypes, signer: Signer) -> Any:
    """Return the subclass that fits the public key. Raises UnsupportedKeySpec."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return RemoteRSAPrivateKey(public_key, signer)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return RemoteECPrivateKey(public_key, signer)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return RemoteEd25519PrivateKey(public_key, signer)
    raise UnsupportedKeySpec(f"Keys of the kind {type(public_key).__name__} cannot be used from a backend.")
