"""Find private keys, tokens and passwords in a text. Every channel calls it before the first write, log or message. Pure.

A result has the kind and the length of the secret, never the secret. A false alarm is cheap (the
person is asked to remove the text), a private key in a log is not. Private keys are found by
`certs.x509.csr.private_keys`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from certs.x509.csr.private_keys import find_private_key, may_hold_private_key


@dataclass(frozen=True, slots=True)
class SecretFound:
    """What was found: its kind in words for people, and its length in characters."""

    kind: str
    length: int


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


def find_secret(text: str) -> SecretFound | None:
    """Return the first kind of secret that the text holds, or None. Linear in the text's length."""
    return next((found for found in map(_find, _readings(text)) if found), None)


def may_hold_secret(text: str) -> bool:
    """A quick look, for octets that are mostly no text: False means that `find_secret` finds nothing in any part."""
    folded = text.casefold()
    return any(map(folded.__contains__, _NEEDLES)) or may_hold_private_key(_octets(text))


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
    if key := find_private_key(_octets(text)):
        return SecretFound(key.kind, key.length)
    folded = text.casefold()
    if any(map(folded.__contains__, _NEEDLES)):  # nearly every text holds none of them
        for kind, needles, pattern in _TOKENS:
            match = pattern.search(text) if any(needle in folded for needle in needles) else None
            if match:
                return SecretFound(kind, len(match[0]))
    return None


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "replace")
