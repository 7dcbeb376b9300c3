"""Private keys that people paste in place of a CSR: found however they are wrapped. Pure.

Nothing here puts a byte of what came in into an exception, a message or an answer.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import islice

from certs.x509.csr.possession import MOST_KEYS, proven_keys

# Dashes may be missing or typographic: the words are enough, whichever end of the key was copied.
_MARKS = re.compile(
    rb"(?:BEGIN|END) (?:[A-Z0-9]{1,12} ){0,3}(?:PRIVATE KEY|PKCS12)|PuTTY-User-Key-File-|Private-Lines:|AGE-SECRET-KEY-1", re.IGNORECASE
)
# A text without any of these has no mark: looking for them is far cheaper, and whole uploads are searched.
_NEEDLES = (b"private key", b"pkcs12", b"putty-user-key-file-", b"private-lines:", b"age-secret-key-1")
_PRIVATE_JWK = re.compile(rb"[\"']kty[\"']\s*:")
_PRIVATE_PART = re.compile(rb"[\"'](?:d|k|p|q|priv)[\"']\s*:\s*[\"']")
_BLOCK = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}-----[A-Za-z0-9+/=\s:,.]{1,40000}-----END [A-Z0-9 ]{0,40}-----")
_BASE64_START = re.compile(rb"(?<![A-Za-z0-9+/])(?:M|b3BlbnNzaC1rZXktdjE)[A-Za-z0-9+/]{15,}")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}")
_KEYSTORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # Java: JKS, JCEKS
_OPENSSH = b"openssh-key-v1\x00"
_PBES = (bytes.fromhex("2a864886f70d0105"), bytes.fromhex("2a864886f70d010c01"))  # PKCS#5; PKCS#12 PBE
_PKCS7 = bytes.fromhex("06092a864886f70d0107")
_MOST_RUNS = 5000
_LARGEST_KEY = 32_000  # characters of base64; RSA with 16,384 bits has 13,000


def holds_secret(data: bytes) -> bool:
    """Is there a private key, clear or encrypted, anywhere in these bytes? Linear in their length."""
    text = _plain(data)
    lowered = text.lower()
    marked = any(map(lowered.__contains__, _NEEDLES)) and _MARKS.search(text)
    if data.startswith(_KEYSTORES) or marked or _is_private_der(data.lstrip()[:64]):
        return True
    if b"kty" in text and _PRIVATE_JWK.search(text) and _PRIVATE_PART.search(text):
        return True
    return next(_private_runs(text), None) is not None


def find_exposed_keys(data: bytes) -> tuple[str, ...]:
    """Return the names of the public keys whose private keys are in these bytes and were checked
    against them (`certs.x509.csr.possession`). Empty where nothing is proven: see there.
    """
    text = _plain(data).replace(b"\\r", b"").replace(b"\\n", b"\n")
    candidates = [
        data,
        data.strip(),
        text,
        *(match.group(0) for match in islice(_BLOCK.finditer(text), MOST_KEYS)),
        *islice(_private_runs(text), MOST_KEYS),
    ]
    found: set[str] = set()
    for candidate in dict.fromkeys(candidates):
        found |= proven_keys(candidate)
    return tuple(sorted(found))


def _plain(data: bytes) -> bytes:
    """UTF-16, as some editors save it, without its empty octets: only the words matter here."""
    return data.replace(b"\x00", b"") if data.count(b"\x00") * 3 > len(data) else data


def _private_runs(text: bytes) -> Iterator[bytes]:
    """What the base64 runs decode to, of those that begin like a private key."""
    for count, match in enumerate(_BASE64_START.finditer(text)):
        if count >= _MOST_RUNS:
            return
        head = b"".join(text[match.start() : match.start() + 160].split())[:96]
        if _is_private_der(_decoded(head)):
            run = _BASE64_RUN.match(text, match.start(), match.start() + _LARGEST_KEY)
            yield _decoded(b"".join(run.group(0).split())) if run else b""


def _decoded(text: bytes) -> bytes:
    """As much of it as is base64; a cut-off end is completed or dropped."""
    letters = re.split(rb"[^A-Za-z0-9+/]", text, maxsplit=1)[0]
    letters = letters[:-1] if len(letters) % 4 == 1 else letters
    return base64.b64decode(letters + b"=" * (-len(letters) % 4))


def _is_private_der(head: bytes) -> bool:
    """By its first elements: PKCS#1, SEC 1, PKCS#8 clear or encrypted, PKCS#12, OpenSSH. A CSR or certificate begins otherwise."""
    if head.startswith(_OPENSSH):
        return True
    if head[:1] != b"\x30":
        return False
    inner = body_of(head)
    if inner[:3] in (b"\x02\x01\x00", b"\x02\x01\x01"):
        rest = inner[3:]
        # version, then: an AlgorithmIdentifier (PKCS#8), a modulus (PKCS#1; or a DSA key's p), an OCTET STRING (SEC 1)
        return (rest[:1] == b"\x30" and body_of(rest)[:1] == b"\x06") or rest[:1] in (b"\x02", b"\x04")
    if inner[:4] == b"\x02\x01\x03\x30":
        return body_of(inner[3:]).startswith(_PKCS7)
    return inner[:1] == b"\x30" and body_of(inner)[:1] == b"\x06" and body_of(inner)[2:].startswith(_PBES)


def body_of(element: bytes) -> bytes:
    """What follows an element's header; lengths are not checked, a cut-off key is a key too."""
    if len(element) < 2:
        return b""
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]
