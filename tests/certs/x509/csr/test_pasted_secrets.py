"""Private keys in every wrapping that people paste: refused, blocked by their public half, told to nobody."""

from __future__ import annotations

import base64
import json
import time
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from certs.errors import CSRRefused
from certs.x509.csr.gate import read_csr
from keys.spec import spki_sha256
from tests.certs.x509.csr.requests import GOOD_ATTRIBUTES, ORGANIZATION, attribute, judge, pem, rdn, request, tlv

EC_KEY = ec.generate_private_key(ec.SECP384R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SEALED = BestAvailableEncryption(b"correct horse")
GOOD = pem(request())


def _der(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: PrivateFormat, sealed: bool = False) -> bytes:
    return key.private_bytes(Encoding.DER, form, SEALED if sealed else NoEncryption())


def _text(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, form: PrivateFormat, sealed: bool = False
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, SEALED if sealed else NoEncryption())


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode().rstrip("=")


def _jwk() -> dict[str, str]:
    numbers = EC_KEY.private_numbers()
    return {
        "kty": "EC",
        "crv": "P-384",
        "x": base64.urlsafe_b64encode(numbers.public_numbers.x.to_bytes(48, "big")).decode(),
        "y": base64.urlsafe_b64encode(numbers.public_numbers.y.to_bytes(48, "big")).decode(),
        "d": _number(numbers.private_value),
    }


PKCS8, SEC1 = _text(EC_KEY, PrivateFormat.PKCS8), _text(EC_KEY, PrivateFormat.TraditionalOpenSSL)
EC_SPKI, RSA_SPKI, ED_SPKI = (spki_sha256(key.public_key()) for key in (EC_KEY, RSA_KEY, ED_KEY))
# what is pasted, and the public key that must be blocked ("" where only a passphrase would tell)
SECRETS: dict[str, tuple[bytes, str]] = {
    "pkcs8": (PKCS8, EC_SPKI),
    "pkcs8 der": (_der(EC_KEY, PrivateFormat.PKCS8), EC_SPKI),
    "pkcs8 base64 on one line": (base64.b64encode(_der(RSA_KEY, PrivateFormat.PKCS8)), RSA_SPKI),
    "pkcs8 sealed": (_text(EC_KEY, PrivateFormat.PKCS8, True), ""),
    "pkcs8 sealed der": (_der(EC_KEY, PrivateFormat.PKCS8, True), ""),
    "pkcs8 sealed base64": (base64.encodebytes(_der(EC_KEY, PrivateFormat.PKCS8, True)), ""),
    "sec1": (SEC1, EC_SPKI),
    "sec1 der": (_der(EC_KEY, PrivateFormat.TraditionalOpenSSL), EC_SPKI),
    "sec1 after its parameters": (b"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n" + SEC1, EC_SPKI),
    "pkcs1": (_text(RSA_KEY, PrivateFormat.TraditionalOpenSSL), RSA_SPKI),
    "pkcs1 base64": (base64.encodebytes(_der(RSA_KEY, PrivateFormat.TraditionalOpenSSL)), RSA_SPKI),
    "pkcs1 sealed": (_text(RSA_KEY, PrivateFormat.TraditionalOpenSSL, True), ""),
    "ed25519": (_text(ED_KEY, PrivateFormat.PKCS8), ED_SPKI),
    "openssh": (_text(ED_KEY, PrivateFormat.OpenSSH), ED_SPKI),
    "openssh without armour": (b"".join(_text(ED_KEY, PrivateFormat.OpenSSH).split(b"\n")[1:-2]), ED_SPKI),
    "pkcs12": (pkcs12.serialize_key_and_certificates(b"n", EC_KEY, None, None, SEALED), ""),
    "pkcs12 base64": (base64.encodebytes(pkcs12.serialize_key_and_certificates(b"n", EC_KEY, None, None, SEALED)), ""),
    "pkcs12 without a password": (pkcs12.serialize_key_and_certificates(b"n", EC_KEY, None, None, NoEncryption()), EC_SPKI),
    "jwk": (json.dumps(_jwk()).encode(), EC_SPKI),
    "jwk set": (json.dumps({"keys": [_jwk()]}, indent=1).encode(), EC_SPKI),
    "symmetric jwk": (b'{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"}', ""),
    "pgp": (b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlFgEZ\n-----END PGP PRIVATE KEY BLOCK-----\n", ""),
    "putty": (b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", ""),
    "age": (b"# created\nAGE-SECRET-KEY-1QQPQZ2RVGE6X\n", ""),
    "java keystore": (b"\xfe\xed\xfe\xed\x00\x00\x00\x02" + bytes(40), ""),
    "behind a CSR": (GOOD + PKCS8, EC_SPKI),
    "before a CSR": (PKCS8 + GOOD, EC_SPKI),
    "behind a CSR without armour": (GOOD + base64.encodebytes(_der(EC_KEY, PrivateFormat.PKCS8)), EC_SPKI),
    "under the label of a CSR": (pem(_der(EC_KEY, PrivateFormat.PKCS8)), EC_SPKI),
    "under the label of a certificate": (pem(_der(RSA_KEY, PrivateFormat.TraditionalOpenSSL), "CERTIFICATE"), RSA_SPKI),
    "in Windows line ends": (PKCS8.replace(b"\n", b"\r\n"), EC_SPKI),
    "in UTF-16": (PKCS8.decode().encode("utf-16"), EC_SPKI),
    "as a JSON string": (json.dumps({"key": PKCS8.decode()}).encode(), EC_SPKI),
    "with typographic dashes": (PKCS8.replace(b"-----", "–––".encode()), EC_SPKI),
    "without its first line": (PKCS8.split(b"\n", 1)[1], EC_SPKI),
    "first half": (PKCS8[: len(PKCS8) // 2], ""),
    "lower case label": (PKCS8.replace(b"PRIVATE KEY", b"private key").replace(b"BEGIN", b"begin"), EC_SPKI),
    "indented in YAML": (b"key: |\n" + b"".join(b"  " + line + b"\n" for line in PKCS8.splitlines()), EC_SPKI),
    "inside a subject": (request(subject=(rdn(ORGANIZATION, PKCS8),)), EC_SPKI),
    "inside an attribute, in base64": (pem(request(attributes=sorted([*GOOD_ATTRIBUTES, attribute("1.2.3.4", tlv(4, PKCS8))]))), EC_SPKI),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secret_is_refused_and_its_public_key_named(kind: str) -> None:
    data, spki = SECRETS[kind]
    with pytest.raises(CSRRefused) as caught:
        read_csr(data, domains=("example.test",))
    assert (str(caught.value.refusal), caught.value.exposed_keys) == ("secret_pasted", (spki,) if spki else ())


@pytest.mark.parametrize("kind", SECRETS)
def test_exception_holds_nothing_of_the_secret(kind: str) -> None:
    data, _ = SECRETS[kind]
    with pytest.raises(CSRRefused) as caught:
        read_csr(data, domains=("example.test",))
    told: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        told += [repr(error), repr(error.args), repr(getattr(error, "__dict__", {}))]
        error = error.__cause__ or error.__context__
    told.append("".join(traceback.format_exception(caught.value)))
    text = data.replace(b"\x00", b"").decode("latin-1")
    pieces = [text[n : n + 16] for n in range(32, len(text) - 16, 16)]
    assert [piece for piece in pieces if any(piece in line for line in told)] == []


@pytest.mark.parametrize(
    "data",
    [
        EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        EC_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1),
        base64.encodebytes(RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        ED_KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAAC3NzaC1lZDI1NTE5\n---- END SSH2 PUBLIC KEY ----\n",
        json.dumps({name: value for name, value in _jwk().items() if name != "d"}).encode(),
        json.dumps({"keys": [{name: value for name, value in _jwk().items() if name != "d"}]}).encode(),
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n-----END PGP PUBLIC KEY BLOCK-----\n",
        b"SPKAC=MIIBOTCBpDCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA",
    ],
    ids=["spki", "pkcs1", "spki der", "pkcs1 der", "spki base64", "ssh", "ssh2", "jwk", "jwk set", "pgp", "spkac"],
)
def test_public_key_is_another_object_and_no_secret(data: bytes) -> None:
    assert judge(data) == ("reject", "wrong_object")


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN A-----\n" * 50_000,
        b"-----BEGIN CERTIFICATE REQUEST-----\n" * 25_000,
        b"-----BEGIN " * 80_000,
        b"MIIE" * 200_000,
        b"MIIEvQIBADANBgkqhkiG9w0BAQ\n" * 30_000,
        b'{"kty":' * 100_000,
        b"[" * 900_000,
        b"\x30\x83\x0d\xbb\xa0\x06\x83\x0d\xbb\x9b" + b"\x81" * 900_000,
        b" " * 1_000_000 + b"x",
        b"A\n" * 400_000,
        b"-" * 900_000 + b"private key",
        b"\n" * 900_000 + b"private key",
        b"--begin " * 100_000 + b"private key",
        b"30" * 400_000,
    ],
    ids=[
        "begins",
        "csr begins",
        "open begins",
        "base64",
        "key heads",
        "json",
        "brackets",
        "endless identifier",
        "spaces",
        "lines",
        "dashes",
        "line ends",
        "labels",
        "hexadecimal",
    ],
)
def test_large_paste_is_answered_in_time(data: bytes) -> None:
    began = time.perf_counter()
    verdict, _ = judge(data)
    assert verdict == "reject"
    assert time.perf_counter() - began < 2
