"""What proves possession of a private key, and what only looks like one (finding S1)."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.x509.asn1.reader import parse
from certs.x509.asn1.writer import der_length
from certs.x509.csr.possession import proven_keys
from keys.spec import spki_sha256
from tests.certs.x509.csr.requests import seq

EC, OTHER_EC = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
RSA, OTHER_RSA = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
SEALED = BestAvailableEncryption(b"correct horse")
KEYS: dict[str, Any] = {
    "rsa": RSA,
    "p-256": EC,
    "p-521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ED,
    "ed448": ed448.Ed448PrivateKey.generate(),
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate(),
}


def url64(value: int | bytes, size: int = 0) -> str:
    octets = value if isinstance(value, bytes) else value.to_bytes(size or (value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def ec_jwk(public: Any, d: int) -> dict[str, str]:
    numbers = public.public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": url64(numbers.x, 32), "y": url64(numbers.y, 32), "d": url64(d, 32)}


def rsa_jwk(public: Any, d: int, e: int = 65537) -> dict[str, str]:
    return {"kty": "RSA", "n": url64(public.public_numbers().n), "e": url64(e), "d": url64(d)}


def okp_jwk(public: Any, d: bytes) -> dict[str, str]:
    x = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": url64(x), "d": url64(d)}


def ssh_string(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def mpint(value: int) -> bytes:
    return ssh_string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def putty(public: Any, private: bytes, version: int = 3, encryption: str = "none") -> bytes:
    kind, blob = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[:2]
    public_lines, private_lines = blob.decode(), base64.encodebytes(private).decode()
    return (
        f"PuTTY-User-Key-File-{version}: {kind.decode()}\r\nEncryption: {encryption}\r\nComment: a key\r\n"
        f"Public-Lines: 1\r\n{public_lines}\r\nPrivate-Lines: 9\r\n{private_lines}\r\nPrivate-MAC: 00\r\n"
    ).encode()


def sealed_openssh(public: Any) -> bytes:
    """An OpenSSH file under a passphrase: its public half is in the clear (openssh PROTOCOL.key 1)."""
    blob = base64.b64decode(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    options = ssh_string(ssh_string(bytes(16)) + (16).to_bytes(4, "big"))
    body = ssh_string(b"aes256-ctr") + ssh_string(b"bcrypt") + options + (1).to_bytes(4, "big")
    text = b"openssh-key-v1\x00" + body + ssh_string(blob) + ssh_string(bytes(160))
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.encodebytes(text) + b"-----END OPENSSH PRIVATE KEY-----\n"


D, N = RSA.private_numbers().d, RSA.public_key().public_numbers().n
RAW_ED = ED.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
OTHER_D = OTHER_EC.private_numbers().private_value
PROOFS: dict[str, tuple[bytes, Any]] = {
    **{
        f"{name} in {form}": (key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()), key)
        for name, key in KEYS.items()
        for form, encoding in (("PEM", Encoding.PEM), ("DER", Encoding.DER))
    },
    "PKCS#1": (RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()), RSA),
    "SEC 1": (EC.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()), EC),
    "OpenSSH": (EC.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), EC),
    "PKCS#12": (pkcs12.serialize_key_and_certificates(b"n", EC, None, None, NoEncryption()), EC),
    "RSA JWK without the primes": (json.dumps(rsa_jwk(RSA.public_key(), D)).encode(), RSA),
    "EC JWK": (json.dumps(ec_jwk(EC.public_key(), EC.private_numbers().private_value)).encode(), EC),
    "Ed25519 JWK": (json.dumps(okp_jwk(ED.public_key(), RAW_ED)).encode(), ED),
    "JWK inside other JSON": (
        b"see " + json.dumps({"a": [{"key": ec_jwk(EC.public_key(), EC.private_numbers().private_value)}]}).encode() + b" there",
        EC,
    ),
    "PuTTY RSA": (putty(RSA.public_key(), mpint(D) + mpint(3) + mpint(5) + mpint(7), version=2), RSA),
    "PuTTY EC": (putty(EC.public_key(), mpint(EC.private_numbers().private_value)), EC),
    "PuTTY Ed25519": (putty(ED.public_key(), ssh_string(RAW_ED)), ED),
}


@pytest.mark.parametrize("kind", PROOFS)
def test_private_key_proves_its_public_key(kind: str) -> None:
    file, key = PROOFS[kind]
    assert proven_keys(file) == {spki_sha256(key.public_key())}


def _sec1_of_another_key() -> bytes:
    """ECPrivateKey (RFC 5915 3) with the scalar of one key and the point of another."""
    der = OTHER_EC.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    point = OTHER_EC.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return der.replace(point, EC.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _pkcs1(*numbers: int) -> bytes:
    def number(value: int) -> bytes:
        octets = value.to_bytes(value.bit_length() // 8 + 1, "big")
        return b"\x02" + der_length(len(octets)) + octets

    content = b"".join(map(number, (0, *numbers)))
    return b"\x30" + der_length(len(content)) + content


def _openssh_of_another_key() -> bytes:
    """An OpenSSH file whose clear public half is the victim's and whose private half is not."""
    text = OTHER_EC.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    blob = base64.b64decode(b"".join(text.split(b"\n")[1:-2]))
    points = [key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in (OTHER_EC, EC)]
    blob = blob.replace(points[0], points[1])
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.encodebytes(blob) + b"-----END OPENSSH PRIVATE KEY-----\n"


FORGERIES: dict[str, bytes] = {
    "EC JWK with a made-up d": json.dumps(ec_jwk(EC.public_key(), OTHER_D)).encode(),
    "EC JWK with d 0": json.dumps(ec_jwk(EC.public_key(), 0)).encode(),
    "RSA JWK with a made-up d": json.dumps(rsa_jwk(RSA.public_key(), OTHER_RSA.private_numbers().d)).encode(),
    "RSA JWK with e = d = 1": json.dumps(rsa_jwk(RSA.public_key(), 1, 1)).encode(),
    "RSA JWK with d 0": json.dumps(rsa_jwk(RSA.public_key(), 0)).encode(),
    "RSA JWK with negative-looking numbers": json.dumps(rsa_jwk(RSA.public_key(), N - 1, N - 1)).encode(),
    "RSA JWK with even exponents": json.dumps(rsa_jwk(RSA.public_key(), N - 1, 4)).encode(),
    "Ed25519 JWK with a made-up d": json.dumps(okp_jwk(ED.public_key(), bytes(32))).encode(),
    "JWK without d": json.dumps({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}).encode(),
    "JWK with a list as d": json.dumps(ec_jwk(EC.public_key(), 5) | {"d": [1]}).encode(),
    "JWK with words as d": json.dumps(ec_jwk(EC.public_key(), 5) | {"d": "not base64!"}).encode(),
    "encrypted PKCS#8": EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, SEALED),
    "encrypted OpenSSH": sealed_openssh(ED.public_key()),
    "encrypted PKCS#12": pkcs12.serialize_key_and_certificates(b"n", EC, None, None, SEALED),
    "encrypted PuTTY": putty(EC.public_key(), bytes(48), encryption="aes256-cbc"),
    "PuTTY with a made-up private part": putty(EC.public_key(), mpint(OTHER_D)),
    "PuTTY RSA with a made-up private part": putty(RSA.public_key(), mpint(OTHER_D)),
    "PuTTY Ed25519 with a made-up private part": putty(ED.public_key(), ssh_string(bytes(32))),
    "SEC 1 with another point": _sec1_of_another_key(),
    "PKCS#1 with another modulus": _pkcs1(N, 65537, OTHER_RSA.private_numbers().d, 3, 5, 7, 11, 13),
    "PKCS#1 with e = d = 1": _pkcs1(N, 1, 1, 3, 5, 1, 1, 1),
    "OpenSSH with another public half": _openssh_of_another_key(),
    "public key": EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_public_data_proves_nothing(kind: str) -> None:
    victims = {spki_sha256(key.public_key()) for key in (EC, RSA, ED)}
    assert proven_keys(FORGERIES[kind]) & victims == set()


def test_rsa_key_with_another_exponent_names_the_modulus_with_the_usual_one() -> None:
    """Finding S9: whoever has the factors of a modulus has its private key for every exponent."""
    numbers = RSA.private_numbers()
    e = 65539
    d = pow(e, -1, (numbers.p - 1) * (numbers.q - 1))
    jwk = {"kty": "RSA", "n": url64(N), "e": url64(e), "d": url64(d)}
    other = spki_sha256(rsa.RSAPublicNumbers(e, N).public_key())
    assert proven_keys(json.dumps(jwk).encode()) == {other, spki_sha256(RSA.public_key())}


def test_every_key_of_a_set_is_proven() -> None:
    keys = [ec_jwk(key.public_key(), key.private_numbers().private_value) for key in (EC, OTHER_EC)]
    both = {spki_sha256(EC.public_key()), spki_sha256(OTHER_EC.public_key())}
    assert proven_keys(json.dumps({"keys": keys}).encode()) == both


def test_keystore_with_endless_iterations_is_not_opened() -> None:
    """The password is empty, so the count in the file alone decides how long the derivation takes."""
    whole = pkcs12.serialize_key_and_certificates(b"n", EC, None, None, NoEncryption())
    assert proven_keys(whole) == {spki_sha256(EC.public_key())}
    endless = b"\x02\x04\x7f\xff\xff\xff"
    mac = parse(whole).child(2)
    parts = [*(child.raw for child in mac.children[:2]), endless]
    pfx = [*(child.raw for child in parse(whole).children[:2]), seq(*parts)]
    began = time.perf_counter()
    assert proven_keys(seq(*pfx)) == set()
    assert time.perf_counter() - began < 1


FILES = [
    *(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in KEYS.values()),
    *(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) for key in KEYS.values()),
    RSA.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    EC.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    ED.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    EC.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    pkcs12.serialize_key_and_certificates(b"n", EC, None, None, NoEncryption()),
    json.dumps(ec_jwk(EC.public_key(), EC.private_numbers().private_value)).encode(),
    json.dumps(rsa_jwk(RSA.public_key(), RSA.private_numbers().d)).encode(),
]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damaged_key_file_is_no_error(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(file) - 1))
        if data.draw(st.booleans()):
            file[place] = data.draw(st.integers(0, 255))
        else:
            del file[place : place + data.draw(st.integers(1, 8))]
    found = proven_keys(bytes(file))
    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in found)
