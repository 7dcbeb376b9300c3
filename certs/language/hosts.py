"""Host names in a sentence: ranges (`api-1 through api-9`) and braces (`api-{1..9}`), completion, normal form. Pure.

A pattern is counted before it is expanded, so that a short text cannot ask for millions of names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from certs.errors import CSRRefused, NotUnderstood
from certs.language.words import MAX_DIGITS, Word
from certs.x509.dns_names import name_from_text, parse_dns_name, parse_ip_address

RANGE_EXAMPLE = "Issue certificates for api-1 through api-10"
_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMERIC = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable part of a pattern: the numbers from `low` to `high`, padded with zeros to `width`, or a list of words."""

    words: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    width: int = 0

    def __len__(self) -> int:
        return len(self.words) or self.high - self.low + 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.words) if self.words else (str(n).zfill(self.width) for n in range(self.low, self.high + 1))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A host name with variable parts: `parts` are fixed texts and choices. `at` is its position in the sentence."""

    parts: tuple[str | Choice, ...]
    text: str
    at: int

    @property
    def count(self) -> int:
        return math.prod(len(part) for part in self.parts if isinstance(part, Choice))

    def names(self) -> Iterator[str]:
        """Return every name. Check `count` first."""
        return ("".join(parts) for parts in product(*([part] if isinstance(part, str) else part for part in self.parts)))


def pattern_of(word: Word) -> Pattern:
    """Return the pattern of a name as written. Raises NotUnderstood for braces that are neither a range nor a list."""
    parts: list[str | Choice] = []
    end = 0
    for match in _BRACES.finditer(word.text):
        parts += [word.text[end : match.start()], _choice(match[1], word.at + match.start())]
        end = match.end()
    return Pattern((*parts, word.text[end:]), word.text, word.at)


def _choice(inside: str, at: int) -> Choice:
    words = tuple(part.strip() for part in inside.split(","))
    numeric = _NUMERIC.fullmatch(inside.strip())
    if numeric:
        return _numbers(numeric[1], numeric[2], at)
    if len(words) == 1 or not all(re.fullmatch(r"[\w.-]+", part) for part in words) or ".." in inside:
        raise NotUnderstood(
            f"{{{inside}}} is neither a range {{1..10}} nor a list {{a,b}}", position=at, example=f"{RANGE_EXAMPLE[:24]}api-{{1..10}}"
        )
    return Choice(words=words)


def _numbers(first: str, last: str, at: int) -> Choice:
    """Numbers with the padding that the first one shows: 1..10, 01..10, 098..102."""
    if max(len(first), len(last)) > MAX_DIGITS:
        raise NotUnderstood(f"A number in the range has more than {MAX_DIGITS} digits", position=at, example=RANGE_EXAMPLE)
    padded = len(first) > 1 and first.startswith("0")
    if (padded or (len(last) > 1 and last.startswith("0"))) and len(first) != len(last):
        message = f"The range {first} to {last} pads its ends differently: write both with the same number of digits"
        raise NotUnderstood(message, position=at, example="Issue certificates for api-01 through api-10")
    if int(last) < int(first):
        raise NotUnderstood(f"The range {first} to {last} runs backwards", position=at, example=RANGE_EXAMPLE)
    return Choice(low=int(first), high=int(last), width=len(first) if padded else 0)


def range_of(first: Word, last: Word) -> Pattern:
    """`api-1 through api-10`, `api-1.example.com to api-10.example.com`, `api-1 through 10`: names that differ in one number."""
    left, right = first.text, last.text
    if "{" in left + right:
        raise NotUnderstood("Use either braces or a range, not both", position=first.at, example=RANGE_EXAMPLE)
    if right.isdigit():
        label, dot, rest = left.partition(".")
        stem = re.sub(r"\d+$", "", label)
        if stem == label:
            raise NotUnderstood(f"{first.text} ends in no number, so it begins no range", position=first.at, example=RANGE_EXAMPLE)
        right = stem + right + dot + rest
    elif "." in right and "." not in left:
        left += right[right.index(".") :]
    elif "." in left and "." not in right:
        right += left[left.index(".") :]
    ours, theirs = re.split(r"(\d+)", left.lower()), re.split(r"(\d+)", right.lower())
    places = [n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b] if len(ours) == len(theirs) else []
    if left.lower() == right.lower():
        return Pattern((left,), first.text, first.at)
    if len(places) != 1 or places[0] % 2 == 0:
        message = f"{first.text} and {last.text} are no range: the two names must differ in exactly one number"
        raise NotUnderstood(message, position=first.at, example=RANGE_EXAMPLE)
    place = places[0]
    choice = _numbers(ours[place], theirs[place], last.at if len(theirs[place]) > MAX_DIGITS else first.at)
    return Pattern(("".join(ours[:place]), choice, "".join(ours[place + 1 :])), f"{first.text} through {last.text}", first.at)


@dataclass(frozen=True, slots=True)
class Host:
    """One name in normal form: a lower-case A-label name or canonical IP text, and how it came about."""

    name: str
    is_ip: bool = False
    completed: bool = False
    converted_from: str = ""


def host_of(text: str, at: int, domain: str) -> Host:
    """Normalise one name; a bare label is completed with `domain`. Raises NotUnderstood for what is no DNS name and no address."""
    address = parse_ip_address(text)
    if address:
        return Host(address, is_ip=True)
    name = name_from_text(text)
    if "://" in name or "/" in name or "@" in name or ":" in name:
        raise _refused(text, at, "is not a host name: leave out the scheme, port, path or user")
    star, bare = ("*." if name.startswith("*.") else ""), name.removeprefix("*.")
    if not bare.strip("."):
        raise _refused(text, at, "is not a host name: it has dots only" if text.strip() else "is not a host name: it is empty")
    if "*" in bare:
        raise _refused(text, at, "is not a host name: a wildcard is one * before the first dot", "Issue certificate for *.apps.example.com")
    if star and "." not in bare:
        # Completed, `*.com` would become another name than the one that was written, at a level nobody asked for.
        why = "is a wildcard directly beneath a single label, which is never completed: write it with its whole domain"
        raise _refused(text, at, why, "Issue certificate for *.apps.example.com")
    completed = "." not in bare
    if completed and not domain:
        raise _refused(text, at, "has no domain, and your team has no default domain: write the full name")
    try:
        full = f"{bare}.{domain}" if completed else f"{star}{bare}"
        name = parse_dns_name(full, allow_unicode=True, field="text").ascii
    except CSRRefused as error:
        raise _refused(text, at, f"is not a host name ({error.message.rstrip('.')})") from error
    return Host(name, completed=completed, converted_from="" if text.isascii() else text)


def _refused(text: str, at: int, why: str, example: str = "Issue certificate for api.example.com") -> NotUnderstood:
    return NotUnderstood(f"{text[:80]!r} {why}", position=at, example=example)
