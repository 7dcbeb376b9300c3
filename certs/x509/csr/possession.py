"""Proof of possession: rebuild a private key from what was pasted and check it against its public key. Pure.

A public key alone proves nothing, whatever stands beside it: a JWK with a made-up `d`, or an
encrypted OpenSSH file, whose public half is in the clear, can be written by anybody who has seen a
certificate. Only a key whose private numbers were checked here may be blocked.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator
from itertools import islice
from typing import Any

import gmpy2
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from certs.x509.asn1.reader import INTEGER, OCTET_STRING, Node, NotDER, integer, parse
from keys.spec import blocked_names

MOST_KEYS = 16  # private keys of one paste that are checked; more than anybody pastes
_LARGEST = 64 * 1024  # bytes of one file with a key, text or binary
_MOST_BITS = 16_384  # RSA; beyond it OpenSSL does not sign either
_MOST_OBJECTS = 200  # JSON values that are looked into
_MOST_ITERATIONS = 1_000_000  # of the derivation of a PKCS#12 key; OpenSSL writes 2,048, others up to 600,000
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}
_SIGNING = (
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
    mldsa.MLDSA44PrivateKey,
    mldsa.MLDSA65PrivateKey,
    mldsa.MLDSA87PrivateKey,
)
_OPENSSH = b"openssh-key-v1\x00"
_BEGIN_OPENSSH, _END_OPENSSH = (b"-----" + word + b" OPENSSH PRIVATE KEY-----" for word in (b"BEGIN", b"END"))
_PUTTY = re.compile(
    rb"PuTTY-User-Key-File-[23]: ?(?P<kind>[a-z0-9-]{1,40})\s+Encryption: ?none\s+"
    rb"(?:Comment:[^\r\n]*\s+)?Public-Lines: ?\d+\s+(?P<public>[A-Za-z0-9+/=\s]+?)"
    rb"\s+Private-Lines: ?\d+\s+(?P<private>[A-Za-z0-9+/=\s]+?)\s+Private-(?:MAC|Hash):"
)


# What pyca, gmpy2 and the readers below raise for octets of another format.
_NOT_THIS_FORMAT = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, UnsupportedAlgorithm)


def proven_keys(file: bytes) -> set[str]:
    """Return the names (`keys.spec.blocked_names`) of the public keys whose private key is in `file`.

    `file` is one object: PEM, DER, OpenSSH, PKCS#12 without a password, JWK or JWK Set, or PuTTY.
    Empty for an encrypted key, and for a key that does not belong to the public key beside it.
    """
    found: set[str] = set()
    if len(file) > _LARGEST:
        return found
    for public_key in islice(_opened(file), MOST_KEYS):
        found |= blocked_names(public_key)
    return found


def _opened(file: bytes) -> Iterator[PublicKeyTypes]:
    """Yield the public key of each private key that some format finds in the file."""
    # Every format is tried: the label of a pasted block is often wrong, and each reader refuses the others' files quickly.
    for open_file in (_from_pem, _from_ssh, _from_der, _from_pkcs12, _from_putty):
        try:
            public_key = _checked(open_file(file))
        except _NOT_THIS_FORMAT:  # the text of the error may quote the key
            continue
        if public_key is not None:
            yield public_key
    for jwk in _jwks(file):
        try:
            public_key = _checked(_from_jwk(jwk))
        except _NOT_THIS_FORMAT:
            continue
        if public_key is not None:
            yield public_key


def _checked(key: Any) -> PublicKeyTypes | None:
    """Return the public key of a private key that belongs to it, else None."""
    if isinstance(key, rsa.RSAPrivateKey):
        private = key.private_numbers()
        return _checked_rsa(private.public_numbers.n, private.public_numbers.e, private.d)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers = key.private_numbers()
        return _checked_ec(key.curve, numbers.private_value, numbers.public_numbers)
    if isinstance(key, _SIGNING):
        public_key = key.public_key()
        message = secrets.token_bytes(32)
        try:
            public_key.verify(key.sign(message), message)
        except InvalidSignature:
            return None
        return public_key
    # rebuilt from numbers and checked already; other kinds (DSA, X25519) cannot be certified
    return key if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) else None


def _checked_rsa(n: int, e: int, d: int) -> PublicKeyTypes | None:
    """Check (m^e)^d = m mod n for random m: with such a d one can factor n. e = d = 1 would hold for
    every n.
    """
    if n.bit_length() > _MOST_BITS or d.bit_length() > 2 * _MOST_BITS or e < 3 or d < 3:
        return None
    if e.bit_length() > n.bit_length():
        return None
    # Twice, for a number that happens to fit one m. Large exponents, which would take minutes, were refused above.
    for _ in range(2):
        m = 2 + secrets.randbelow(n - 3)
        if gmpy2.powmod(gmpy2.powmod(m, e, n), d, n) != m:
            return None
    return rsa.RSAPublicNumbers(e, n).public_key()


def _checked_ec(curve: ec.EllipticCurve, d: int, public: ec.EllipticCurvePublicNumbers) -> PublicKeyTypes | None:
    """Check d*G = Q. Returns the public key, None where d belongs to another one."""
    derived = ec.derive_private_key(d, curve).public_key()
    return derived if derived.public_numbers() == public else None


def _from_pem(file: bytes) -> Any:
    # Without OpenSSL's own check: it tests the factors for primality, which takes minutes for large ones.
    return load_pem_private_key(file, None, unsafe_skip_rsa_key_validation=True)


def _from_ssh(file: bytes) -> Any:
    if file.startswith(_OPENSSH):
        text = b"\n".join((_BEGIN_OPENSSH, base64.encodebytes(file).strip(), _END_OPENSSH, b""))
        return load_ssh_private_key(text, None, unsafe_skip_rsa_key_validation=True)
    return load_ssh_private_key(file, None, unsafe_skip_rsa_key_validation=True)


def _from_der(file: bytes) -> Any:
    return load_der_private_key(file, None, unsafe_skip_rsa_key_validation=True)


def _from_pkcs12(file: bytes) -> Any:
    """Open a PKCS#12 file without a password. (Some have the empty one, which protects nothing.)"""
    if not _opens_quickly(parse(file)):
        return None
    return load_key_and_certificates(file, None)[0]


def _opens_quickly(node: Node) -> bool:
    """Return whether no number in a PKCS#12 file can be a count of iterations that keeps this process busy for minutes.

    Keys and most serial numbers are longer than a count; a file that is taken for a slow one proves nothing, which is safe.
    """
    if node.tag == INTEGER:
        return not _MOST_ITERATIONS < integer(node) < 1 << 63
    if node.tag == OCTET_STRING and node.content[:1] == b"\x30":
        try:
            return _opens_quickly(parse(node.content))
        except NotDER:  # octets of another kind, such as a ciphertext
            return True
    return all(_opens_quickly(child) for child in node.children)


def _from_putty(file: bytes) -> Any:
    """Open PuTTY's own format, versions 2 and 3, without encryption (PuTTY user manual, appendix C)."""
    match = _PUTTY.search(file)
    if match is None:
        return None
    kind, blob = match["kind"], base64.b64encode(_unwrapped(match["public"]))
    public = load_ssh_public_key(kind + b" " + blob)
    fields = list(_strings(_unwrapped(match["private"])))
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return _checked_rsa(numbers.n, numbers.e, int.from_bytes(fields[0], "big"))
    if isinstance(public, ec.EllipticCurvePublicKey):
        d = int.from_bytes(fields[0], "big")
        return _checked_ec(public.curve, d, public.public_numbers())
    if isinstance(public, ed25519.Ed25519PublicKey):
        key = ed25519.Ed25519PrivateKey.from_private_bytes(fields[0].ljust(32, b"\x00"))
        return key if key.public_key() == public else None
    return None


def _strings(blob: bytes) -> Iterator[bytes]:
    """Yield the strings of an SSH structure (RFC 4251 5)."""
    while len(blob) >= 4:
        length = int.from_bytes(blob[:4], "big")
        yield blob[4 : 4 + length]
        blob = blob[4 + length :]


def _unwrapped(text: bytes) -> bytes:
    return base64.b64decode(b"".join(text.split()), validate=True)


def _jwks(file: bytes) -> Iterator[dict[str, Any]]:
    """Yield every JWK in a JSON text: alone, in a JWK Set, or inside another object."""
    start = re.search(rb"[\[{]", file)
    if start is None:
        return
    try:
        waiting = [json.JSONDecoder().raw_decode(file[start.start() :].decode())[0]]
    except (ValueError, RecursionError):
        return
    for _ in range(_MOST_OBJECTS):
        if not waiting:
            return
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if "kty" in value:
                yield value
            waiting += value.values()


def _from_jwk(jwk: dict[str, Any]) -> Any:
    """Rebuild the key of a JWK (RFC 7518 6.2 and 6.3, RFC 8037 2)."""
    if jwk["kty"] == "RSA":
        return _checked_rsa(_number(jwk["n"]), _number(jwk["e"]), _number(jwk["d"]))
    if jwk["kty"] == "EC":
        curve = _CURVES[jwk["crv"]]()
        public = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve)
        return _checked_ec(curve, _number(jwk["d"]), public)
    if jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(_url64(jwk["d"]))
        beside = ed25519.Ed25519PublicKey.from_public_bytes(_url64(jwk["x"]))
        return key if key.public_key() == beside else None
    return None


def _number(text: str) -> int:
    return int.from_bytes(_url64(text), "big")


def _url64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
