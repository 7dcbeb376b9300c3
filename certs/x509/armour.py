"""What people paste or upload, down to the DER of one CSR: armour (RFC 7468), other objects, and secrets that must not be here. Pure.

The text that came in never becomes part of an exception.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key, load_ssh_private_key

from certs.errors import CSRRefused
from certs.terms import RefusalClass as R
from keys.spec import spki_sha256

CSR_LABELS = {"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}
WANTED = "Send one PKCS#10 request: -----BEGIN CERTIFICATE REQUEST----- and so on, or its DER."
REPLACE_KEY = "Treat that key as exposed and make a new one; send only the CSR. Nobody here ever needs a private key."

_BLOCK = re.compile(rb"-----BEGIN ([^\r\n]*?)-----(.*?)-----END ([^\r\n]*?)-----", re.DOTALL)
_BEGIN, _END = re.compile(rb"-----BEGIN ([^\r\n]*?)-----"), re.compile(rb"-----END ([^\r\n]*?)-----")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_SSH_PUBLIC = re.compile(rb"^\s*(ssh-(rsa|dss|ed25519)|ecdsa-sha2-\S+|sk-(ssh|ecdsa)\S+) AAAA", re.MULTILINE)
_SECRET_MARKS = (b"PuTTY-User-Key-File", b"AGE-SECRET-KEY-", b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # PuTTY, age, Java keystores
_PKCS7_DATA = bytes.fromhex("06092a864886f70d010701")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_PBES = (bytes.fromhex("06092a864886f70d01050d"), bytes.fromhex("060a2a864886f70d010c01"), bytes.fromhex("06092a864886f70d0105"))


@dataclass(frozen=True, slots=True)
class Unpacked:
    """`bare`: it came as base64 without armour, and is shown to its sender in the normal form."""

    der: bytes
    bare: bool = False


def unpack(data: bytes) -> Unpacked:
    """Raises CSRRefused."""
    if not data.strip():
        raise CSRRefused(R.MALFORMED, "There is nothing in it.", next_step=WANTED)
    _refuse_marked_secrets(data)
    if data[:1] == b"\x30" and not data.isascii():
        return Unpacked(_only_csr(data))
    text = data.removeprefix(b"\xef\xbb\xbf")
    if b"-----BEGIN" in text or b"-----END" in text:
        return Unpacked(_from_armour(text))
    return _from_plain(text)


def _refuse_marked_secrets(data: bytes) -> None:
    """Private keys by their armour, whatever else is pasted with them and however broken they are."""
    private = [label for label in _BEGIN.findall(data) if b"PRIVATE KEY" in label.upper() or label.upper() == b"PKCS12"]
    if private or any(mark in data for mark in _SECRET_MARKS):
        raise CSRRefused(
            R.SECRET_PASTED, "A private key was pasted in place of a CSR.", next_step=REPLACE_KEY, spki_sha256=_public_half(data)
        )


def _public_half(data: bytes) -> str:
    """SHA-256 of the public key of a pasted private key, so that it can be refused from now on; empty when it cannot be read."""
    attempts = [match.group(0) for match in _BLOCK.finditer(data)] or [data]
    for block in attempts:
        for load in (load_pem_private_key, load_ssh_private_key, load_der_private_key):
            try:
                return spki_sha256(load(block, None).public_key())
            except Exception:  # noqa: BLE001, S112 - hostile bytes in three parsers; whatever they raise means: not this format
                continue
    return ""


def _from_armour(text: bytes) -> bytes:
    blocks = list(_BLOCK.finditer(text))
    if not blocks or len(_BEGIN.findall(text)) != len(blocks) or len(_END.findall(text)) != len(blocks):
        raise CSRRefused(R.MALFORMED, "Its BEGIN and END lines do not go together.", next_step=WANTED)
    labels = [block.group(1).decode("latin-1") for block in blocks]
    if len(blocks) > 1:
        what = "several CSRs" if set(labels) <= CSR_LABELS else "more than a CSR"
        raise CSRRefused(R.MULTIPLE_OBJECTS, f"It holds {what}; one is wanted.", next_step="Send them one by one, or as a bulk order.")
    (block,), (label,) = blocks, labels
    if block.group(3) != block.group(1):
        raise CSRRefused(R.MALFORMED, "Its BEGIN and END lines name different things.", next_step=WANTED)
    if label not in CSR_LABELS:
        if label.strip() in CSR_LABELS:
            raise CSRRefused(R.MALFORMED, "Its BEGIN line is not written as RFC 7468 wants.", next_step=WANTED)
        raise CSRRefused(R.WRONG_OBJECT, f"It holds {_named(label)}, not a CSR.", next_step=WANTED)
    _check_line_ends(text, block)
    return _decoded(block.group(2))


def _check_line_ends(text: bytes, block: re.Match[bytes]) -> None:
    """The armour lines stand on lines of their own."""
    before, after = text[: block.start()], block.group(2)
    if (before and not before.endswith((b"\n", b"\r"))) or not after[:1].isspace() or not after[-1:].isspace():
        raise CSRRefused(R.MALFORMED, "Its BEGIN and END lines must stand on lines of their own.", next_step=WANTED)


def _named(label: str) -> str:
    known = {
        "CERTIFICATE": "a certificate",
        "TRUSTED CERTIFICATE": "a certificate",
        "X509 CERTIFICATE": "a certificate",
        "PKCS7": "a PKCS#7 file",
        "CMS": "a CMS file",
        "X509 CRL": "a CRL",
        "PUBLIC KEY": "a public key",
        "RSA PUBLIC KEY": "a public key",
        "SSH2 PUBLIC KEY": "an SSH public key",
    }
    return known.get(label, "something else")


def _decoded(text: bytes) -> bytes:
    joined = b"".join(text.split())
    if not _BASE64.fullmatch(joined):
        raise CSRRefused(R.MALFORMED, "Between BEGIN and END there is something other than base64.", next_step=WANTED)
    try:
        return base64.b64decode(joined, validate=True)
    except binascii.Error as exc:
        raise CSRRefused(R.MALFORMED, "Its base64 is cut off or damaged.", next_step="Copy it again, whole.") from exc


def _from_plain(text: bytes) -> Unpacked:
    """No armour: an SSH key, a JWK, bare base64, or nothing of use."""
    if _SSH_PUBLIC.search(text):
        raise CSRRefused(R.WRONG_OBJECT, "It is an SSH public key, not a CSR.", next_step=WANTED)
    if text.lstrip()[:1] == b"{":
        _refuse_json(text)
    joined = b"".join(text.split())
    if len(joined) >= 64 and _BASE64.fullmatch(joined):
        try:
            return Unpacked(_only_csr(base64.b64decode(joined, validate=True)), bare=True)
        except binascii.Error as exc:
            raise CSRRefused(R.MALFORMED, "Its base64 is cut off or damaged.", next_step="Copy it again, whole.") from exc
    if text[:1] == b"\x30":
        return Unpacked(_only_csr(text))
    raise CSRRefused(R.MALFORMED, "It is not a CSR.", next_step=WANTED)


def _refuse_json(text: bytes) -> None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(content, dict) and "kty" in content:
        if any(name in content for name in ("d", "k", "p", "q")):
            raise CSRRefused(R.SECRET_PASTED, "A private JWK was pasted in place of a CSR.", next_step=REPLACE_KEY)
        raise CSRRefused(R.WRONG_OBJECT, "It is a JWK, not a CSR.", next_step=WANTED)


def _only_csr(der: bytes) -> bytes:
    """Binary without a label: refuse what is certainly another thing; the rest is judged as a CSR."""
    head = der[:80]
    if _is_pkcs12(head) or _is_encrypted_key(head):
        raise CSRRefused(R.SECRET_PASTED, "An encrypted private key was sent in place of a CSR.", next_step=REPLACE_KEY)
    if spki := _public_half_of_der(der):
        raise CSRRefused(R.SECRET_PASTED, "A private key was sent in place of a CSR.", next_step=REPLACE_KEY, spki_sha256=spki)
    if _SIGNED_DATA in head[:32]:
        raise CSRRefused(R.WRONG_OBJECT, "It is a PKCS#7 file, not a CSR.", next_step=WANTED)
    return der


def _is_pkcs12(head: bytes) -> bool:
    """PFX ::= SEQUENCE { INTEGER 3, ContentInfo of data or signedData } (RFC 7292 4)."""
    return b"\x02\x01\x03\x30" in head[:12] and (_PKCS7_DATA in head or _SIGNED_DATA in head)


def _is_encrypted_key(head: bytes) -> bool:
    """EncryptedPrivateKeyInfo begins with the algorithm of a password-based scheme (RFC 5958 3)."""
    return any(oid in head[:24] for oid in _PBES)


def _public_half_of_der(der: bytes) -> str:
    try:
        return spki_sha256(load_der_private_key(der, None).public_key())
    except Exception:  # noqa: BLE001 - hostile bytes: whatever the parser raises means that it is no private key
        return ""
