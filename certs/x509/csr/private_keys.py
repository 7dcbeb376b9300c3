"""The one detector of private keys that people paste or upload, however they are wrapped. Pure.

It is used for CSRs, uploads and every text that people write (`certs.language.secret_scan` adds tokens
and passwords). Nothing here puts a byte of what was searched into an exception, a message or a return
value, but for `find_exposed_keys`, which returns hashes of public keys.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from certs.x509.csr.possession import MOST_KEYS, proven_keys


class PrivateKeyFound(NamedTuple):
    """What was found: its kind in words for people, and its length in characters."""

    kind: str
    length: int


# A text without any of these (in lower case) has no mark: looking for them is some fifty times as
# fast as any of the patterns, and whole uploads are searched.
_NEEDLES = (b"private key", b"pkcs12", b"putty-user-key-file-", b"private-lines:", b"age-secret-key-1")
# The words of a BEGIN or END line. In capitals they are enough, whichever end of the key was copied;
# in small letters only with several dashes or as a line of their own, for "begin with a new private key"
# and "front-end private key" are English. Word processors write other dashes than hyphens: UTF-8 and
# Windows-1252.
_LABEL = rb"(?P<label>[A-Z0-9 ]{0,40}?(?:PRIVATE KEY(?: BLOCK)?|PKCS12))"
_SHORT_LABEL = rb"(?P<label>(?:(?:RSA|EC|DSA|OPENSSH|PGP|ENCRYPTED) )?(?:PRIVATE KEY(?: BLOCK)?|PKCS12))"
_DASHES = rb"(?:-|\xe2\x80[\x90-\x95]|\xe2\x88\x92|[\x96\x97]){2}"
_PEM_MARKS = (
    re.compile(rb"(?<![A-Z])(?<![A-Za-z]-)(?:BEGIN|END) " + _LABEL),
    re.compile(_DASHES + rb"\s{0,8}(?:BEGIN|END) " + _LABEL, re.IGNORECASE),
    re.compile(rb"(?:BEGIN|END) " + _LABEL + rb"\s{0,8}" + _DASHES, re.IGNORECASE),
    re.compile(rb"^[ \t]*(?:BEGIN|END) " + _SHORT_LABEL + rb"[ \t\r]*$", re.IGNORECASE | re.MULTILINE),
)
# The rest of a PEM block behind its first words. `\\n` stands in keys pasted from JSON.
_PEM_REST = re.compile(rb"\s*-{4,5}(?:[A-Za-z0-9+/=\s\\:,.-]*?-{4,5}END [A-Z0-9 ]{1,60}-{4,5})?")
_PEM_KINDS = {
    b"OPENSSH PRIVATE KEY": "OpenSSH private key",
    b"PGP PRIVATE KEY BLOCK": "PGP private key",
    b"ENCRYPTED PRIVATE KEY": "encrypted private key (PKCS#8)",
    b"PRIVATE KEY": "private key (PKCS#8)",
}
_OTHER_MARKS = (
    ("PuTTY private key", re.compile(rb"PuTTY-User-Key-File-|Private-Lines:", re.IGNORECASE)),
    ("age secret key", re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]*", re.IGNORECASE)),
)
_PRIVATE_JWK = re.compile(rb"[\"']kty[\"']\s*:")
_PRIVATE_PART = re.compile(rb"[\"'](?:d|k|p|q|priv)[\"']\s*:\s*[\"']")
_BLOCK = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}-----[A-Za-z0-9+/=\s:,.]{1,40000}-----END [A-Z0-9 ]{0,40}-----")
# Base64 of a SEQUENCE, of an OpenSSH key, of a PEM block once more (as Kubernetes keeps it), of a Java
# keystore; also in the URL-safe alphabet.
_BASE64_START = re.compile(rb"(?<![A-Za-z0-9+/])(?:M|b3BlbnNzaC1rZXktdjE|LS0tLS1CRUdJTi|[/_]u3[+-]7)[A-Za-z0-9+/_-]{15,}")
_BASE64_RUN = re.compile(rb"(?:[A-Za-z0-9+/_\s]|-(?!-))+={0,2}")  # two hyphens begin an END line
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_HEX_DER = re.compile(rb"(?i)(?<![0-9a-f])30(?:[\s:]?[0-9a-f]{2}){47,}")
_KEYSTORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # Java: JKS, JCEKS
_OPENSSH = b"openssh-key-v1\x00"
_PEM_IN_BASE64 = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY")
_PBES = (bytes.fromhex("2a864886f70d0105"), bytes.fromhex("2a864886f70d010c01"))  # PKCS#5; PKCS#12 PBE
_PKCS7 = bytes.fromhex("06092a864886f70d0107")
_MOST_RUNS = 5000
_LARGEST_KEY = 32_000  # characters of base64; RSA with 16,384 bits has 13,000


def find_private_key(data: bytes) -> PrivateKeyFound | None:
    """Return the first private key in these bytes, clear or encrypted, whole or in part; None for
    none. Linear in their length.
    """
    text = _plain(data)
    # 1. Marks of text formats: PEM in any spelling, PuTTY, age.
    if marked := _marked(text):
        return marked
    # 2. A key file in binary.
    if data.startswith(_KEYSTORES) or _is_private_der(data.lstrip()[:64]):
        return PrivateKeyFound("private key", len(data))
    # 3. A JWK with a private part (RFC 7517 9.2).
    if b"kty" in text and _PRIVATE_JWK.search(text) and (match := _PRIVATE_PART.search(text)):
        return PrivateKeyFound("private key (JWK)", len(match[0]))
    # 4. DER without its BEGIN line, in base64 or hexadecimal: its first elements show it.
    for length, _ in _private_runs(text):
        return PrivateKeyFound("private key (base64)", length)
    for match in _HEX_DER.finditer(text) if b"30" in text else ():
        if _is_private_der(bytes.fromhex(re.sub(r"[\s:]", "", match[0][:200].decode())[:128])):
            return PrivateKeyFound("private key (hexadecimal)", len(match[0]))
    return None


def may_hold_private_key(data: bytes) -> bool:
    """Return whether a text of a private key may be in it, for octets that are mostly no text: False means that `find_private_key` finds no
    text of a private key in any part of them.
    """
    lowered = data.lower()
    return (
        any(map(lowered.__contains__, (*_NEEDLES, b"kty"))) or _BASE64_START.search(data) is not None or _HEX_DER.search(data) is not None
    )


def _marked(text: bytes) -> PrivateKeyFound | None:
    lowered = text.lower()
    if not any(map(lowered.__contains__, _NEEDLES)):
        return None
    for pattern in _PEM_MARKS:
        if match := pattern.search(text):
            return _of_label(text, match)
    for kind, pattern in _OTHER_MARKS:
        if match := pattern.search(text):
            return PrivateKeyFound(kind, len(match[0]))
    return None


def _of_label(text: bytes, match: re.Match[bytes]) -> PrivateKeyFound:
    """Return the kind that a BEGIN or END line names, and the length of the block that it begins."""
    label = match["label"].strip().upper()
    start = match.start()
    while start and text[start - 1 : start] == b"-":
        start -= 1
    rest = _PEM_REST.match(text, match.end("label"))
    end = rest.end() if rest else match.end()
    return PrivateKeyFound(_PEM_KINDS.get(label, "private key (PEM)"), end - start)


def find_exposed_keys(data: bytes) -> tuple[str, ...]:
    """Return the names of the public keys whose private keys are in these bytes and were checked
    against them (`certs.x509.csr.possession`). Empty where nothing is proven: see there.
    """
    # The whole, each PEM block and each base64 run: a key may be one part of a longer text. At most MOST_KEYS of each kind, so
    # that a file of made-up blocks cannot keep the process busy.
    text = _plain(data).replace(b"\\r", b"").replace(b"\\n", b"\n")
    candidates = [
        data,
        data.strip(),
        text,
        *(match.group(0) for match in islice(_BLOCK.finditer(text), MOST_KEYS)),
        *(run for _, run in islice(_private_runs(text), MOST_KEYS)),
    ]
    found: set[str] = set()
    for candidate in dict.fromkeys(candidates):
        found |= proven_keys(candidate)
    return tuple(sorted(found))


def _plain(data: bytes) -> bytes:
    """Return UTF-16, which some editors write, without its empty octets: only the words matter here."""
    return data.replace(b"\x00", b"") if data.count(b"\x00") * 3 > len(data) else data


def _private_runs(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length of each base64 run that begins like a private key, and what it decodes to."""
    for count, match in enumerate(_BASE64_START.finditer(text)):
        if count >= _MOST_RUNS:
            return
        # The first octets decide. Only a run that begins like a key is decoded as a whole, so that the search stays linear.
        head = b"".join(text[match.start() : match.start() + 160].split())[:96]
        if _is_private_der(_decoded(head)):
            run = _BASE64_RUN.match(text, match.start(), match.start() + _LARGEST_KEY)
            if run:
                yield len(run[0].rstrip()), _decoded(b"".join(run[0].split()))


def _decoded(text: bytes) -> bytes:
    """Decode as much of it as is base64; a cut-off end is completed or dropped."""
    letters = re.split(rb"[^A-Za-z0-9+/]", text.translate(_URL_SAFE), maxsplit=1)[0]
    letters = letters[:-1] if len(letters) % 4 == 1 else letters
    return base64.b64decode(letters + b"=" * (-len(letters) % 4))


def _is_private_der(head: bytes) -> bool:
    """Return whether these are the first octets of PKCS#1, SEC 1, PKCS#8 clear or encrypted, PKCS#12, OpenSSH, a
    Java keystore or a PEM block. A CSR or certificate begins otherwise: with SEQUENCE, SEQUENCE.
    """
    if head.startswith((_OPENSSH, *_KEYSTORES)) or _PEM_IN_BASE64.match(head):
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
    """Return what follows an element's header; lengths are not checked, a cut-off key is a key too."""
    if len(element) < 2:
        return b""
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]
