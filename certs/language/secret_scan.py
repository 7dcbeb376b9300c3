"""Does a text hold a secret? Looked for at every door before the first write, log or message (PROTOCOLS 7). Pure.

A hit says what kind of secret and how long it is, never what it is. False alarms are cheap here (the person is asked to
take it out), a private key in a log is not.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class SecretFound:
    """What was found: its kind in words for people, and its length in characters."""

    kind: str
    length: int


_PEM_KEYS = {
    "OPENSSH PRIVATE KEY": "OpenSSH private key",
    "PGP PRIVATE KEY BLOCK": "PGP private key",
    "ENCRYPTED PRIVATE KEY": "encrypted private key (PKCS#8)",
    "PRIVATE KEY": "private key (PKCS#8)",
}
# The end may be missing: half a key is still a leak. `\\n` covers keys pasted from JSON.
_PEM = re.compile(
    r"-{4,5}\s*BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)\s*-{4,5}(?:[A-Za-z0-9+/=\s\\:,.-]*?-{4,5}END [A-Z0-9 ]{1,60}-{4,5})?"
)
_PUTTY = re.compile(r"PuTTY-User-Key-File-[23]:|Private-Lines: \d+")
_AGE = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{20,}", re.IGNORECASE)
# `sk-payments-frontend-production-01` is a host's name: a key has letters of both cases and digits, or a long hexadecimal end that
# no domain follows. The looks ahead are bounded, so that a text of many beginnings stays linear.
_MIXED = r"(?=[A-Za-z0-9_-]{0,60}[A-Z])(?=[A-Za-z0-9_-]{0,60}[a-z])(?=[A-Za-z0-9_-]{0,60}[0-9])[A-Za-z0-9_-]{24,}"
_HEX = r"(?:[a-z0-9]{1,8}-){0,3}[0-9a-f]{32,}+(?!-|[A-Za-z0-9_]|\.[A-Za-z0-9])"
_NAMES = r"(?<![a-z0-9])(?:password|passwd|passphrase|passwort|kennwort|pwd|client_secret|secret_key|api_?key)"
_EQUALS = r"[\"']?\s*[=:]\s*[\"']?"  # in JSON the name has quotes
_DIGIT = r"(?=[^\s]{0,60}[0-9])"
# Each pattern with what a text must hold (in lower case) before it is worth looking: whole uploads are searched, and looking for a
# few octets is some fifty times as fast as any of the patterns.
_TOKENS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("API token of this portal", ("pkip_",), re.compile(r"(?<![A-Za-z0-9])pkip_[A-Za-z0-9_-]{20,}")),
    ("age secret key", ("age-secret-key-1",), _AGE),
    ("PuTTY private key", ("putty-user-key-file-", "private-lines: "), _PUTTY),
    (
        "Vault token",
        ("s.", "b.", "r."),
        re.compile(r"(?<![A-Za-z0-9])(?:hv[sbr]\.[A-Za-z0-9_-]{20,}|[sbr]\.[A-Za-z0-9]{24}(?![A-Za-z0-9.]))"),
    ),
    ("AWS access key", ("akia", "asia"), re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    (
        "GitHub token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    ),
    (
        "GitLab token",
        ("glpat-", "gldt-", "glrt-", "glptt-"),
        re.compile(r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,}"),
    ),
    ("Slack token", ("xox",), re.compile(r"(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}")),
    (
        "API key",
        ("sk-", "aiza", "npm_", "pypi-"),
        re.compile(
            rf"(?<![A-Za-z0-9_-])(?:sk-(?:{_MIXED}|{_HEX})|AIza[A-Za-z0-9_-]{{35}}|npm_[A-Za-z0-9]{{36}}|pypi-[A-Za-z0-9_-]{{40,}})"
        ),
    ),
    ("JSON web token", ("eyj",), re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    ("password in a URL", ("://",), re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@]{0,256}:[^\s/@]{1,256}@")),
    ("bearer token", ("bearer",), re.compile(r"(?i)(?<![a-z0-9])bearer\s+[a-z0-9._~+/-]{20,}=*")),
    ("basic credentials", ("basic",), re.compile(r"(?i)authorization[\"']?\s*[=:]\s*[\"']?basic\s+[a-z0-9+/]{8,}={0,2}")),
    ("private key (JWK)", ('"kty"',), re.compile(r'"[dk]"\s*:\s*"[A-Za-z0-9_-]{22,}"')),
    (
        "password",
        ("password", "passwd", "passphrase", "passwort", "kennwort", "pwd", "client_secret", "secret_key", "api_key", "apikey"),
        re.compile(rf"(?i){_NAMES}(?:{_EQUALS}[^\s\"',;]{{6,}}|\s+(?:is|ist)\s+{_DIGIT}\S{{6,}})"),
    ),
    (
        "password",
        ("secret", "token"),
        # As words of a sentence these are common, so what follows must look like chance.
        re.compile(rf"(?i)(?<![a-z0-9])(?:secret|token|secret_access_key){_EQUALS}{_DIGIT}(?=[^\s]{{0,60}}[a-z])[^\s\"',;]{{12,}}"),
    ),
)
_NEEDLES = tuple(needle for _, needles, _ in _TOKENS for needle in needles)
_WORD = re.compile(r"[A-Za-z0-9+/_-]{40,}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}(?:\s+[A-Za-z0-9+/_-]{4,}={0,2})*")
_HEX_DER = re.compile(r"(?i)(?<![0-9a-f])30(?:[\s:]?[0-9a-f]{2}){47,}")
_MOST_BYTES = 64 * 1024


def find_secret(text: str) -> SecretFound | None:
    """The first kind of secret that the text holds, or None. Linear in the text's length."""
    return next((found for found in map(_find, _readings(text)) if found), None)


def may_hold_secret(text: str) -> bool:
    """A quick look, for octets that are mostly no text: False means that `find_secret` finds nothing in any part."""
    folded = text.casefold()
    return any(map(folded.__contains__, (*_NEEDLES, "private key"))) or bool(_WORD.search(text) or _HEX_DER.search(text))


def _readings(text: str) -> Iterator[str]:
    """The text as it is, without percent-encoding, and in plain letters.

    A secret stays one where a form encoded it or an editor put wide letters or unseen characters in.
    """
    yield text
    if "%" in text and (decoded := unquote(text)) != text:
        yield decoded
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text)
        yield "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")


def _find(text: str) -> SecretFound | None:
    folded = text.casefold()
    pem = _PEM.search(text) if "private key" in folded else None
    if pem:
        return SecretFound(_PEM_KEYS.get(pem[1].strip(), "private key (PEM)"), len(pem[0]))
    if any(map(folded.__contains__, _NEEDLES)):  # nearly every text holds none of them
        for kind, needles, pattern in _TOKENS:
            match = pattern.search(text) if any(needle in folded for needle in needles) else None
            if match:
                return SecretFound(kind, len(match[0]))
    return _bare_key(text)


def _bare_key(text: str) -> SecretFound | None:
    """A private key without its BEGIN line: base64 or hexadecimal of its DER, or base64 of its PEM."""
    searched = text[:_MOST_BYTES]
    for word in _WORD.finditer(searched):
        # The head tells; a length that is no multiple of four would only make the decoder refuse it.
        start = word[0][:64]
        try:
            head = base64.b64decode(start.ljust(-(-len(start) // 4) * 4, "=").translate(_URL_SAFE))
        except binascii.Error:
            continue
        if _is_private_der(head):
            whole = _BASE64.match(searched, word.start())
            return SecretFound("private key (base64)", len((whole or word)[0]))
    for match in _HEX_DER.finditer(searched):
        if _is_private_der(bytes.fromhex(re.sub(r"[\s:]", "", match[0][:200])[:128])):
            return SecretFound("private key (hexadecimal)", len(match[0]))
    return None


_URL_SAFE = str.maketrans("-_", "+/")
# After the outer SEQUENCE: a version INTEGER 0 or 1, then what only private keys have there. A certificate or CSR goes on
# otherwise: TBSCertificate and CertificationRequestInfo begin with another SEQUENCE.
_DER_HEADS = (
    re.compile(
        rb"\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...)\x02\x01[\x00\x01]\x30.{1,2}\x06", re.DOTALL
    ),  # PKCS#8: version, AlgorithmIdentifier
    re.compile(rb"\x30(?:\x81.|\x82..)\x02\x01\x00\x02[\x40-\x82]", re.DOTALL),  # PKCS#1: version 0, modulus
    re.compile(rb"\x30(?:[\x00-\x7f]|\x81.)\x02\x01\x01\x04[\x1c-\x42]", re.DOTALL),  # SEC 1: version 1, OCTET STRING
    re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x30.\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", re.DOTALL),  # encrypted PKCS#8: PBES2
    re.compile(rb"\x30(?:\x80|\x81.|\x82..|\x83...)\x02\x01\x03\x30.{1,4}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07", re.DOTALL),  # PKCS#12
    re.compile(rb"\xfe\xed\xfe\xed\x00\x00\x00"),  # Java key store
    re.compile(rb"openssh-key-v1\x00"),
    re.compile(rb"-----BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY"),  # PEM in base64 once more, as Kubernetes keeps it
)


def _is_private_der(head: bytes) -> bool:
    return any(pattern.match(head) for pattern in _DER_HEADS)
