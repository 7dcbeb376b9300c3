"""What kinds of key the portal knows, and how a public key is named. Pure: no Django, no network.

A `KeySpec` is a kind of key that can be requested ("rsa-4096"); `KeyFacts` is what a public key turned out to be, which in an
external CSR may be a size that cannot be requested (RSA with 2,056 bits).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


class KeySpec(StrEnum):
    """Algorithm and size, spelled as in commands, forms and JSON."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    EC_P521 = "ec-p521"
    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"
    ML_DSA_65 = "ml-dsa-65"
    ML_DSA_87 = "ml-dsa-87"

    @property
    def family(self) -> str:
        """`rsa`, `ec`, `ed25519` or `ml-dsa`."""
        return _FAMILY_AND_BITS[self][0]

    @property
    def bits(self) -> int:
        """Modulus bits (RSA), field bits (EC, Ed25519) or the parameter set's number (ML-DSA)."""
        return _FAMILY_AND_BITS[self][1]

    @property
    def label(self) -> str:
        """The spelling people use, such as "RSA 4096" or "ECDSA P-256"."""
        return key_label(self.family, self.bits)

    @property
    def facts(self) -> KeyFacts:
        return KeyFacts(self.family, self.bits)


_FAMILY_AND_BITS: dict[KeySpec, tuple[str, int]] = {
    KeySpec.RSA_2048: ("rsa", 2048),
    KeySpec.RSA_3072: ("rsa", 3072),
    KeySpec.RSA_4096: ("rsa", 4096),
    KeySpec.EC_P256: ("ec", 256),
    KeySpec.EC_P384: ("ec", 384),
    KeySpec.EC_P521: ("ec", 521),
    KeySpec.ED25519: ("ed25519", 255),
    KeySpec.ML_DSA_44: ("ml-dsa", 44),
    KeySpec.ML_DSA_65: ("ml-dsa", 65),
    KeySpec.ML_DSA_87: ("ml-dsa", 87),
}


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a public key is. `name` is a `KeySpec` value where one fits, else for example `rsa-2056`."""

    family: str
    bits: int

    @property
    def name(self) -> str:
        if self.family == "ec":
            return f"ec-p{self.bits}"
        return self.family if self.family == "ed25519" else f"{self.family}-{self.bits}"

    @property
    def label(self) -> str:
        return key_label(self.family, self.bits)

    @classmethod
    def from_name(cls, name: str) -> KeyFacts:
        """Return the facts for a name: the inverse of `name`. Raises ValueError for a name of no known family."""
        if name == "ed25519":
            return cls("ed25519", 255)
        family, _, bits = name.rpartition("-")
        if family not in ("rsa", "ec", "ml-dsa") or not bits.lstrip("p").isdigit():
            raise ValueError(f"unknown key type {name!r}")
        return cls(family, int(bits.lstrip("p")))


def key_label(family: str, bits: int) -> str:
    match family:
        case "rsa":
            return f"RSA {bits}"
        case "ec":
            return f"ECDSA P-{bits}"
        case "ed25519":
            return "Ed25519"
        case "ml-dsa":
            return f"ML-DSA-{bits}"
    raise ValueError(f"unknown key family {family!r}")


_OF_CURVES = {"secp256r1": KeyFacts("ec", 256), "secp384r1": KeyFacts("ec", 384), "secp521r1": KeyFacts("ec", 521)}
_ML_DSA = ((mldsa.MLDSA44PublicKey, 44), (mldsa.MLDSA65PublicKey, 65), (mldsa.MLDSA87PublicKey, 87))


def facts_of(public_key: PublicKeyTypes) -> KeyFacts | None:
    """Return the family and size of a public key, or None for a kind that the portal does not certify."""
    if isinstance(public_key, rsa.RSAPublicKey):
        return KeyFacts("rsa", public_key.key_size)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _OF_CURVES.get(public_key.curve.name)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return KeyFacts("ed25519", 255)
    for kind, number in _ML_DSA:
        if isinstance(public_key, kind):
            return KeyFacts("ml-dsa", number)
    return None


_MOST_REMEMBERED = 2048
_remembered: dict[bytes, KeyFacts] = {}


def facts_of_spki(spki: bytes) -> KeyFacts | None:
    """Return `facts_of` the key in a SubjectPublicKeyInfo. Raises ValueError (pyca's) and
    UnsupportedAlgorithm for one that cannot be decoded.

    The most recent ones are remembered: the gate, the policy and the CA look at the same key.
    """
    known = _remembered.get(spki)
    if known is not None:
        return known
    facts = facts_of(serialization.load_der_public_key(spki))
    if facts is not None:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[spki] = facts
    return facts


def spki_der(public_key: PublicKeyTypes) -> bytes:
    """Return the SubjectPublicKeyInfo in DER (RFC 5280 4.1.2.7)."""
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki_sha256(public_key: PublicKeyTypes | bytes) -> str:
    """Return the SHA-256 of the SubjectPublicKeyInfo in lower-case hex: how the portal names a public key everywhere."""
    der = public_key if isinstance(public_key, bytes) else spki_der(public_key)
    return hashlib.sha256(der).hexdigest()


USUAL_EXPONENT = 65537  # of every RSA key that the portal makes, and the only one that it certifies


def blocked_names(public_key: PublicKeyTypes) -> set[str]:
    """Return the SPKI hashes that a block of this key must cover: its own, and for RSA that of the same
    modulus with the usual exponent, because the factors give the private key of every exponent.
    """
    names = {spki_sha256(public_key)}
    if isinstance(public_key, rsa.RSAPublicKey):
        modulus = public_key.public_numbers().n
        names.add(spki_sha256(rsa.RSAPublicNumbers(USUAL_EXPONENT, modulus).public_key()))
    return names
