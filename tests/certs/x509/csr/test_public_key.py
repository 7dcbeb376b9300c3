"""Keys judged from their octets: sizes, exponents, weaknesses that anyone can use, kinds that are not certified."""

from __future__ import annotations

import time
from itertools import count

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.errors import CSRRefused
from certs.x509.csr.public_key import check_modulus, has_close_primes, has_roca_fingerprint
from tests.certs.x509.csr.requests import SPKI, judge, oid, request, seq, tlv

PRIMES = rsa.generate_private_key(65537, 2048).private_numbers()
MODULUS = PRIMES.p * PRIMES.q
RSA_ALGORITHM = seq(oid("1.2.840.113549.1.1.1"), b"\x05\x00")


def number(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def rsa_spki(modulus: int, exponent: int = 65537, algorithm: bytes = RSA_ALGORITHM) -> bytes:
    return seq(algorithm, tlv(3, b"\x00", seq(number(modulus), number(exponent))))


def spki_of(key: object) -> bytes:
    public = key.public_key()  # type: ignore[attr-defined]
    made: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return made


def ec_spki(curve: str, point: bytes) -> bytes:
    return seq(seq(oid("1.2.840.10045.2.1"), oid(curve)), tlv(3, b"\x00", point))


P256, POINT = "1.2.840.10045.3.1.7", SPKI[-64:]
# RFC 9500 2.3: the public half of its P-256 test key
PUBLISHED = bytes.fromhex(
    "422548f88fb782ffb5eca3744452c72a1e558fbd6f73be5e48e93232cc45c5b16c4cd10c4cb8d5b8a17139e94882c8992572993425f41419ab7e90a42a494272"
)
KEYS: dict[str, tuple[bytes, str]] = {
    # a good key of somebody else: only the signature gives it away
    "another's rsa": (rsa_spki(MODULUS), "bad_signature"),
    "another's p-256": (spki_of(ec.generate_private_key(ec.SECP256R1())), "bad_signature"),
    "published test key": (ec_spki(P256, b"\x04" + PUBLISHED), "key_compromised"),
    "rsa 2047": (rsa_spki(MODULUS >> 1 | 1), "weak_key"),
    "rsa 16384": (rsa_spki((1 << 16383) + 1), "unsupported_key"),
    "rsa 400,000": (rsa_spki((1 << 399_999) + 1), "unsupported_key"),
    "rsa negative": (rsa_spki(-MODULUS), "weak_key"),
    "rsa zero": (rsa_spki(0), "weak_key"),
    "rsa even": (rsa_spki(MODULUS - 1), "weak_key"),
    "rsa multiple of 751": (rsa_spki(MODULUS - MODULUS % (2 * 751) + 751), "weak_key"),
    "rsa cube": (rsa_spki((1 << 683 | 0x1FF77) ** 3), "weak_key"),
    "rsa exponent 1": (rsa_spki(MODULUS, 1), "weak_key"),
    "rsa exponent 3": (rsa_spki(MODULUS, 3), "weak_key"),
    "rsa exponent 0": (rsa_spki(MODULUS, 0), "weak_key"),
    "rsa exponent negative": (rsa_spki(MODULUS, -65537), "weak_key"),
    "rsa exponent 65539": (rsa_spki(MODULUS, 65539), "weak_key"),
    "rsa exponent even": (rsa_spki(MODULUS, 65538), "weak_key"),
    "rsa exponent as large as the modulus": (rsa_spki(MODULUS, MODULUS), "weak_key"),
    "rsa without parameters": (rsa_spki(MODULUS, algorithm=seq(oid("1.2.840.113549.1.1.1"))), "malformed"),
    "rsa of three numbers": (
        seq(RSA_ALGORITHM, tlv(3, b"\x00", seq(number(MODULUS), number(65537), number(1)))),
        "malformed",
    ),
    "rsa with a tail": (seq(RSA_ALGORITHM, tlv(3, b"\x00", seq(number(MODULUS), number(65537)), b"\x00")), "malformed"),
    "rsa for pss only": (rsa_spki(MODULUS, algorithm=seq(oid("1.2.840.113549.1.1.10"))), "unsupported_key"),
    "dsa": (spki_of(dsa.generate_private_key(2048)), "unsupported_key"),
    "p-224": (spki_of(ec.generate_private_key(ec.SECP224R1())), "unsupported_key"),
    "secp256k1": (spki_of(ec.generate_private_key(ec.SECP256K1())), "unsupported_key"),
    "brainpool 384": (spki_of(ec.generate_private_key(ec.BrainpoolP384R1())), "unsupported_key"),
    "ed448": (spki_of(ed448.Ed448PrivateKey.generate()), "unsupported_key"),
    "x25519": (spki_of(x25519.X25519PrivateKey.generate()), "unsupported_key"),
    "x448": (spki_of(x448.X448PrivateKey.generate()), "unsupported_key"),
    "unknown kind": (seq(seq(oid("1.2.3.4")), tlv(3, b"\x00abc")), "unsupported_key"),
    "ec without a curve": (seq(seq(oid("1.2.840.10045.2.1")), tlv(3, b"\x00\x04", POINT)), "malformed"),
    "ec implicit curve": (seq(seq(oid("1.2.840.10045.2.1"), b"\x05\x00"), tlv(3, b"\x00\x04", POINT)), "unsupported_key"),
    "ec infinity": (ec_spki(P256, b"\x00"), "malformed"),
    "ec zero": (ec_spki(P256, b"\x04" + bytes(64)), "malformed"),
    "ec hybrid": (ec_spki(P256, bytes([6 + POINT[-1] % 2]) + POINT), "malformed"),
    "ec too short": (ec_spki(P256, b"\x04" + POINT[:-1]), "malformed"),
    "ec coordinate beyond the field": (ec_spki(P256, b"\x04" + b"\xff" * 64), "malformed"),
    "ed25519 of 31 octets": (seq(seq(oid("1.3.101.112")), tlv(3, b"\x00", bytes(31))), "malformed"),
    "ed25519 neutral point": (seq(seq(oid("1.3.101.112")), tlv(3, b"\x00\x01", bytes(31))), "weak_key"),
    "ml-dsa of a wrong length": (seq(seq(oid("2.16.840.1.101.3.4.3.18")), tlv(3, b"\x00", bytes(1312))), "malformed"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_key_is_judged_before_its_signature_and_in_time(kind: str) -> None:
    spki, expected = KEYS[kind]
    began = time.perf_counter()
    assert judge(request(spki=spki)) == ("reject", expected)
    assert time.perf_counter() - began < 2


def test_close_primes_fermat_finds_them_and_no_others() -> None:
    p = PRIMES.p
    q = next(p + 2 * n for n in count(1) if pow(2, p + 2 * n - 1, p + 2 * n) == 1)
    assert has_close_primes(p * q) is True
    assert has_close_primes(MODULUS) is False


@pytest.mark.parametrize("exponent", [2, 3, 5, 7])
def test_modulus_that_is_a_power_is_weak(exponent: int) -> None:
    with pytest.raises(CSRRefused, match="power of a single number"):
        check_modulus(_next_prime(1 << (2048 // exponent + 1)) ** exponent)


def _next_prime(start: int) -> int:
    return next(n for n in count(start | 1, 2) if all(n % p for p in range(3, 760, 2)) and pow(2, n - 1, n) == 1)


def test_roca_fingerprint_is_that_of_powers_of_65537() -> None:
    product = 1
    for prime in (p for p in range(2, 168) if all(p % d for d in range(2, p))):
        product *= prime
    assert has_roca_fingerprint(pow(65537, 12345, product) + product * 7) is True
    assert has_roca_fingerprint(MODULUS) is False


def test_prime_modulus_is_a_weak_key() -> None:
    """Whoever knows that n is a prime can sign for it: d = e^-1 mod (n - 1)."""
    start = (1 << 2047) + 2**1024 + 1
    prime = next(n for n in range(start, start + 40_000, 2) if n % 3 and n % 5 and n % 7 and pow(2, n - 1, n) == 1)
    with pytest.raises(CSRRefused) as caught:
        check_modulus(prime)
    assert caught.value.refusal == "weak_key"
