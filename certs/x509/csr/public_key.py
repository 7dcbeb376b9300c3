"""Check whether a public key may be certified: kinds, sizes and known weaknesses (BR 6.1.1.3, 6.1.5, 6.1.6). Pure.

From the DER itself: a library may refuse to load exactly those keys whose fault must be named.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, isqrt, prod

import gmpy2

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused
from certs.x509.asn1.reader import NULL, OID, SEQUENCE, Node, NotDER, bits, dotted, integer, parse
from keys.spec import USUAL_EXPONENT, KeyFacts, spki_sha256

# What every shipped policy accepts; where the policy in force is known, its own list replaces this
# one.
NEW_KEY = "Make a new key: ECDSA P-256, P-384 or P-521, Ed25519, or RSA of at least 3072 bits."
MIN_RSA, MAX_RSA = 2048, 8192
FERMAT_ROUNDS = 100
_SMALL_FACTOR_LIMIT = 752

_RSA, _EC, _ED25519 = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112"
_CURVES = {"1.2.840.10045.3.1.7": 256, "1.3.132.0.34": 384, "1.3.132.0.35": 521}
_ML_DSA = {"2.16.840.1.101.3.4.3.17": (44, 1312), "2.16.840.1.101.3.4.3.18": (65, 1952), "2.16.840.1.101.3.4.3.19": (87, 2592)}
_OTHER_KINDS = {
    "1.2.840.10040.4.1": "DSA",
    "1.3.101.110": "X25519",
    "1.3.101.111": "X448",
    "1.3.101.113": "Ed448",
    "1.2.840.113549.1.1.10": "RSA limited to PSS",
    "1.2.840.113549.1.3.1": "Diffie-Hellman",
}
# Points of small order: a signature by them proves nothing (RFC 8032 5.1.7).
_ED25519_SMALL_ORDER = {
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
}


# SHA-256 of the SubjectPublicKeyInfo of keys whose private half is published: RFC 9500 2.1 (RSA
# 2048) and 2.3 (P-256)
_PUBLISHED = {
    "8fb6bad671cfe698393c453357da61b56d757ab8c0f3fb9c87f2849e63131878",
    "b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e",
}


def check_public_key(spki: Node) -> KeyFacts:
    """Return the kind and size of a public key that may be certified. Raises CSRRefused, or NotDER
    for a malformed one.
    """
    # A published key first: it is strong by every other test.
    if spki_sha256(spki.raw) in _PUBLISHED:
        raise _compromised("Its key is a published test key; anyone has its private key.")
    algorithm = spki.child(0, SEQUENCE)
    kind = dotted(algorithm.child(0))
    key = bits(spki.child(1))
    if kind == _RSA:
        return _rsa(algorithm, key)
    if kind == _EC:
        return _ec(algorithm, key)
    if kind == _ED25519:
        return _ed25519(algorithm, key)
    if kind in _ML_DSA:
        number, length = _ML_DSA[kind]
        if len(algorithm.children) != 1 or len(key) != length:
            raise NotDER("an ML-DSA key is not as RFC 9881 writes it")
        return KeyFacts("ml-dsa", number)
    raise CSRRefused(
        R.UNSUPPORTED_KEY, f"Keys of this kind ({_OTHER_KINDS.get(kind, kind)}) are not certified.", field="public_key", next_step=NEW_KEY
    )


def _rsa(algorithm: Node, key: bytes) -> KeyFacts:
    if len(algorithm.children) != 2 or algorithm.child(1).tag != NULL:
        raise NotDER("an RSA key's parameters are not NULL (RFC 3279 2.3.1)")
    numbers = parse(key)
    if len(numbers.children) != 2:
        raise NotDER("an RSA key is not modulus and exponent")
    modulus, exponent = integer(numbers.child(0)), integer(numbers.child(1))
    # Sizes before the tests of the modulus: their time grows with the cube of its length.
    if modulus <= 0 or exponent <= 0:
        raise _weak("Its RSA key has a number that is not positive.")
    _check_rsa_size(modulus.bit_length())
    if exponent != USUAL_EXPONENT:
        # One exponent, so that a modulus has one name: a key that is blocked, or that is another
        # team's, must not pass again with another exponent.
        shown = exponent if exponent < 1 << 32 else "unusually large"
        raise _weak(f"Its RSA exponent is {shown}; only {USUAL_EXPONENT}, which is the default of every common tool, is certified.")
    check_modulus(modulus)
    return KeyFacts("rsa", modulus.bit_length())


def _check_rsa_size(size: int) -> None:
    if size < MIN_RSA:
        raise _weak(f"Its RSA key has {size} bits, fewer than {MIN_RSA}.")
    if size > MAX_RSA:
        # Verifying with it would cost seconds; nobody needs it.
        raise CSRRefused(
            R.UNSUPPORTED_KEY,
            f"Its RSA key has {size} bits, more than the {MAX_RSA} that are certified.",
            field="public_key",
            next_step=NEW_KEY,
        )
    if size % 8:
        raise _weak(f"Its RSA key has {size} bits, which 8 does not divide (BR 6.1.5).")


def check_modulus(modulus: int) -> None:
    """Raise CSRRefused for an RSA modulus that somebody can factor. Cheap tests first; the last takes some milliseconds at 2048 bits."""
    if gcd(modulus, _small_primes_product()) != 1:
        raise _weak("Its RSA modulus has a small factor.")
    if gmpy2.is_power(modulus):  # before Fermat's method, which finds the square of a prime too
        raise _weak("Its RSA modulus is the power of a single number.")
    if has_roca_fingerprint(modulus):
        raise _compromised(
            "Its RSA key was made by a faulty smart card library (ROCA, CVE-2017-15361); anyone can compute its private key."
        )
    if has_close_primes(modulus):
        raise _compromised(
            "Its RSA modulus is a product of two primes that are close together (CVE-2022-26320); anyone can compute its private key."
        )
    if gmpy2.powmod(2, modulus - 1, modulus) == 1:
        # Fermat's little theorem: a product of two large primes never passes by chance; a prime n
        # lets anybody sign for it.
        # GMP's power takes a ninth of the time of Python's, which was 150 ms for 4096 bits: most of what an RSA CSR cost.
        raise _weak("Its RSA modulus is a prime number, not a product of two.")


def _weak(message: str) -> CSRRefused:
    return CSRRefused(R.WEAK_KEY, message, field="public_key", next_step=NEW_KEY)


def _compromised(message: str) -> CSRRefused:
    return CSRRefused(R.KEY_COMPROMISED, message, field="public_key", next_step=NEW_KEY)


@lru_cache(maxsize=1)
def _small_primes() -> tuple[int, ...]:
    return tuple(n for n in range(2, _SMALL_FACTOR_LIMIT) if all(n % d for d in range(2, isqrt(n) + 1)))


@lru_cache(maxsize=1)
def _small_primes_product() -> int:
    return prod(_small_primes())


@lru_cache(maxsize=1)
def _roca_residues() -> tuple[tuple[int, frozenset[int]], ...]:
    """Return for each odd prime up to 167 the residues that powers of 65537 take.

    Primes of the faulty library have no others, so neither has their product.
    """
    residues = []
    for prime in (p for p in _small_primes() if 2 < p <= 167):
        powers, value = set(), 1
        while value not in powers:
            powers.add(value)
            value = value * 65537 % prime
        residues.append((prime, frozenset(powers)))
    return tuple(residues)


def has_roca_fingerprint(modulus: int) -> bool:
    """Return whether it is a modulus of the Infineon library (CVE-2017-15361); by chance once in some hundred million others."""
    return all(modulus % prime in powers for prime, powers in _roca_residues())


def has_close_primes(modulus: int, rounds: int = FERMAT_ROUNDS) -> bool:
    """Return whether Fermat's method finds the factors within 100 rounds (BR 6.1.1.3)."""
    a = int(gmpy2.isqrt(modulus))
    a += a * a < modulus
    for _ in range(rounds):
        rest = a * a - modulus
        if gmpy2.is_square(rest):
            return True
        a += 1
    return False


def _ec(algorithm: Node, key: bytes) -> KeyFacts:
    parameters = algorithm.child(1)
    if parameters.tag != OID:
        raise CSRRefused(
            R.UNSUPPORTED_KEY, "Its curve is given by parameters, not by name (RFC 5480 2.1.1).", field="public_key", next_step=NEW_KEY
        )
    # Curves by name only: parameters of one's own can describe a curve on which the private key is easy to find
    # (CVE-2020-0601).
    size = _CURVES.get(dotted(parameters))
    if size is None:
        raise CSRRefused(R.UNSUPPORTED_KEY, "Its curve is not P-256, P-384 or P-521.", field="public_key", next_step=NEW_KEY)
    if key[:1] in (b"\x02", b"\x03"):
        raise CSRRefused(R.UNSUPPORTED_KEY, "Its curve point is compressed; write it uncompressed.", field="public_key", next_step=NEW_KEY)
    if len(algorithm.children) != 2 or key[:1] != b"\x04" or len(key) != 1 + 2 * ((size + 7) // 8):
        raise NotDER("an EC key is not a point of its curve")
    return KeyFacts("ec", size)


def _ed25519(algorithm: Node, key: bytes) -> KeyFacts:
    if len(algorithm.children) != 1 or len(key) != 32:
        raise NotDER("an Ed25519 key is not as RFC 8410 writes it")
    if key in _ED25519_SMALL_ORDER:
        raise _weak("Its Ed25519 key is a point of small order; anyone can sign for it.")
    return KeyFacts("ed25519", 255)
