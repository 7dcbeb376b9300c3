"""Tokens of revocation sentences: the spellings of the reasons of RFC 5280 5.3.1, and pasted serial numbers. Pure."""

# ruff: noqa: SIM905 - lists of words read best as text
from __future__ import annotations

import re

from certs.enums import RevocationReason as R
from certs.errors import InputRefused, NotUnderstood
from certs.language.words import Word, read_words
from certs.x509.certificate.serial import serial_readings
from certs.x509.dns_names import parse_ip_address

EXAMPLE = "Revoke certificate cert-5678 - reason: key compromise"
OFFERED = (
    "key compromise, superseded, cessation of operation, affiliation changed, privilege withdrawn, on hold, "
    "CA compromise, AA compromise, unspecified"
)

# After the small words are gone ("the key was leaked" -> "key leaked"). "compromised" alone is not here: of what?
_PHRASES: dict[R, str] = {
    R.KEY_COMPROMISE: "key compromise|keycompromise|key compromised|compromised key|compromise key|key leaked|leaked key|key leak|"
    "key stolen|stolen key|key exposed|exposed key|key disclosed|disclosed key|key published|compromise private key",
    R.CA_COMPROMISE: "ca compromise|cacompromise|ca compromised|compromised ca|ca key compromise|ca key compromised",
    R.AA_COMPROMISE: "aa compromise|aacompromise|aa compromised|compromised aa",
    R.AFFILIATION_CHANGED: "affiliation changed|affiliationchanged|affiliation change|change affiliation|changed affiliation",
    R.SUPERSEDED: "superseded|supersede|replaced",
    R.CESSATION_OF_OPERATION: "cessation operation|cessation operations|cessation|cessationofoperation|ceased operation|no longer used|"
    "no longer needed|no longer use|no longer required|decommissioned|decommission|retired|shut down|out service",
    R.CERTIFICATE_HOLD: "certificatehold|certificate hold|hold|suspended|suspend",
    R.PRIVILEGE_WITHDRAWN: "privilege withdrawn|privilegewithdrawn|privileges withdrawn|withdrawn privilege|withdrawn privileges",
    R.UNSPECIFIED: "unspecified",
}
_BY_WORDS: dict[tuple[str, ...], R] = {tuple(phrase.split()): reason for reason, text in _PHRASES.items() for phrase in text.split("|")}
_LONGEST = max(len(words) for words in _BY_WORDS)
_SMALL = frozenset(
    "please kindly the a an was were is are has have had been be it its of in on put to my our this that there by you can could "
    "we i".split()
)
_STARTERS = {
    "because": "BECAUSE",
    "since": "BECAUSE",
    "due": "BECAUSE",
    "for": "BECAUSE",
    "as": "BECAUSE",
    "with": "BECAUSE",
    "reason": "BECAUSE",
}
_HEADS = {"revoke": "REVOKE", "revocation": "REVOKE", "cert": "CERT", "certificate": "CERT", "and": "AND", "then": "AND", "also": "AND"}
_DESTROY = frozenset("destroy delete erase".split())
_GROUPED = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2})+")
# A serial number without the word before it: nothing else that a sentence holds has this form
_SERIAL_ALONE = re.compile(r"0x[0-9a-f]+|[0-9a-f]{2}(:[0-9a-f]{2})+|[0-9a-f]{16,60}")
_HOST = re.compile(r"(?:\*\.)?(?:[\w-]+\.)+[\w-]+\.?")
_KEY_WORDS = (("private", "key"), ("key",))


def reason_named(text: str) -> R:
    """Return the reason that a text names: its name in RFC 5280 (in any case) or a common spelling. Raises InputRefused."""
    for reason in R:
        if reason.lower() == text.strip().lower():
            return reason
    try:
        words = reason_words(read_words(text))
    except NotUnderstood:
        words = []
    if [word.kind for word in words] != ["REASON"]:
        raise InputRefused(f"There is no reason {text[:40]!r}.", field="reason", next_step=f"Reasons: {', '.join(R)}.")
    return R(str(words[0].value))


def reason_words(words: list[Word]) -> list[Word]:
    """Return the tokens of a revocation sentence: reasons become REASON, `destroy the key` DESTROYKEY, serial numbers SERIALNUMBER.

    Raises NotUnderstood for any other word.
    """
    rest = [word for word in _without_hyphens(words) if word.text.lower() not in _SMALL]
    result: list[Word] = []
    at = 0
    while at < len(rest):
        word, used = _next(rest, at)
        result.append(word)
        at += used
    return result


def _without_hyphens(words: list[Word]) -> list[Word]:
    """Split `key-compromise` and `key_compromise` into two words each; ids and serial numbers are not split."""
    result: list[Word] = []
    for word in words:
        parts = re.split(r"[-_]", word.text)
        spelled_out = len(parts) > 1 and all(part.isalpha() and len(part) > 1 for part in parts)
        if word.kind == "NAME" and spelled_out and not _GROUPED.fullmatch(word.text.lower()):
            offset = 0
            for part in parts:
                result.append(Word("NAME", part, word.at + offset))
                offset += len(part) + 1
        else:
            result.append(word)
    return result


def _next(words: list[Word], at: int) -> tuple[Word, int]:
    word, low = words[at], words[at].text.lower()
    if word.kind in ("COLON", "DASH", "COMMA", "CERTID"):
        return word, 1
    if target := certificate_word(words, at):
        return target
    for length in range(min(_LONGEST, len(words) - at), 0, -1):
        phrase = words[at : at + length]
        reason = _BY_WORDS.get(tuple(one.text.lower() for one in phrase)) or _private_key_reason(phrase)
        if reason:
            return Word("REASON", " ".join(one.text for one in phrase), word.at, reason.value), length
    if low in _DESTROY:
        for key in _KEY_WORDS:
            if tuple(one.text.lower() for one in words[at + 1 : at + 1 + len(key)]) == key:
                return Word("DESTROYKEY", word.text, word.at), 1 + len(key)
    if low in _HEADS or low in _STARTERS:
        return Word(_HEADS.get(low) or _STARTERS[low], word.text, word.at), 1
    message = f"{word.text[:80]!r} is not understood in a revocation; reasons are: {OFFERED}"
    raise NotUnderstood(message, position=word.at, example=EXAMPLE)


def certificate_word(words: list[Word], at: int) -> tuple[Word, int] | None:
    """Return the SERIALNUMBER or HOST that names a certificate here, and how many words it takes; None for anything else.

    A label alone (`shop`) is not read as a name: it could be a word of the sentence that was misspelt. Raises NotUnderstood.
    """
    word = words[at]
    if word.text.lower() == "serial":
        return _serial(words, at)
    if _SERIAL_ALONE.fullmatch(word.text.lower()):
        return Word("SERIALNUMBER", word.text, word.at, serial_number(word.text, word.at)), 1
    if names_a_host(word):
        return Word("HOST", word.text, word.at, word.text.lower()), 1
    return None


def names_a_host(word: Word) -> bool:
    """Return whether the word is a full host name, a wildcard or an IP address."""
    return word.kind in ("NAME", "QUOTED") and bool(_HOST.fullmatch(word.text) or parse_ip_address(word.text))


def _private_key_reason(phrase: list[Word]) -> R | None:
    words = tuple(one.text.lower() for one in phrase if one.text.lower() != "private")
    return R.KEY_COMPROMISE if len(words) < len(phrase) and _BY_WORDS.get(words) is R.KEY_COMPROMISE else None


def _serial(words: list[Word], at: int) -> tuple[Word, int]:
    used, label = 1, words[at].text
    while at + used < len(words) and (
        words[at + used].kind == "COLON" or words[at + used].text.lower() in ("number", "no", "numbers", "=")
    ):
        label += words[at + used].text
        used += 1
    if at + used >= len(words):
        raise NotUnderstood("The serial number is missing", position=words[at].at, example="Revoke serial 4A:3F:2B - reason: superseded")
    word = words[at + used]
    return Word("SERIALNUMBER", word.text, word.at, serial_number(word.text, word.at, label=label)), used + 1


def serial_number(text: str, at: int = 0, *, label: str = "") -> int:
    """Return a serial number in any spelling of `serial_readings`; digits only are decimal, or hexadecimal after the label `serial=`.

    Raises NotUnderstood for anything else, and for numbers that no certificate has (RFC 5280 4.1.2.2: 1 to 20 octets).
    """
    openssl = "serial=" if label == "serial=" else ""  # as `openssl x509 -serial` prints it
    try:
        return serial_readings(openssl + text)[0]
    except InputRefused as refused:
        raise NotUnderstood(
            f"{text[:64]!r} is not a serial number: write one in hexadecimal, such as 4A:3F:2B, or a certificate's id, such as cert-5678",
            position=at,
            example="Revoke serial 4A:3F:2B - reason: superseded",
        ) from refused
