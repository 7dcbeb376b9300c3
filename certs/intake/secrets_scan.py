"""Does a text hold a secret? Looked for at every door before the first write, log or message (PROTOCOLS 7). Pure.

A hit says what kind of secret and how long it is, never what it is. False alarms are cheap here (the person is asked to
take it out), a private key in a log is not.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass


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
    (
        "password",
        ("password", "passwd", "passphrase", "pwd", "client_secret", "secret_key", "api_key", "apikey"),
        re.compile(r"(?i)(?<![a-z0-9])(?:password|passwd|passphrase|pwd|client_secret|secret_key|api_?key)\s*[=:]\s*[\"']?[^\s\"',;]{6,}"),
    ),
)
_NEEDLES = tuple(needle for _, needles, _ in _TOKENS for needle in needles)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}(?:\s+[A-Za-z0-9+/]{4,}={0,2})*")
_MOST_BYTES = 64 * 1024


def find_secret(text: str) -> SecretFound | None:
    """The first kind of secret that the text holds, or None. Linear in the text's length."""
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
    """A private key pasted without its BEGIN line: base64 that decodes to the DER of PKCS#8, PKCS#1, SEC 1 or OpenSSH."""
    for match in _BASE64.finditer(text[:_MOST_BYTES]):
        compact = "".join(match[0].split())
        # The head tells; a length that is no multiple of four would only make the decoder refuse it.
        try:
            head = base64.b64decode(compact[:64].ljust(-(-len(compact[:64]) // 4) * 4, "="))
        except binascii.Error:
            continue
        if _is_private_der(head):
            return SecretFound("private key (base64)", len(match[0]))
    return None


# After the outer SEQUENCE: a version INTEGER 0 or 1, then what only private keys have there. A certificate or CSR goes on
# otherwise: TBSCertificate and CertificationRequestInfo begin with another SEQUENCE.
_DER_HEADS = (
    re.compile(
        rb"\x30(?:[\x00-\x7f]|\x81.|\x82..|\x83...)\x02\x01[\x00\x01]\x30.{1,2}\x06", re.DOTALL
    ),  # PKCS#8: version, AlgorithmIdentifier
    re.compile(rb"\x30(?:\x81.|\x82..)\x02\x01\x00\x02[\x40-\x82]", re.DOTALL),  # PKCS#1: version 0, modulus
    re.compile(rb"\x30(?:[\x00-\x7f]|\x81.)\x02\x01\x01\x04[\x1c-\x42]", re.DOTALL),  # SEC 1: version 1, OCTET STRING
    re.compile(rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)\x30.\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", re.DOTALL),  # encrypted PKCS#8: PBES2
    re.compile(rb"openssh-key-v1\x00"),
)


def _is_private_der(head: bytes) -> bool:
    return any(pattern.match(head) for pattern in _DER_HEADS)
