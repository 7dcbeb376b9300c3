"""Filters that people type into the search field: `key:rsa<3072 team:web shop`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# What may stand before the colon, and the parameter of the filter that it means.
WORDS = {
    "state": "state",
    "ends": "expiring",
    "expiring": "expiring",
    "team": "team",
    "owner": "owner",
    "ca": "issuer",
    "issuer": "issuer",
    "profile": "profile",
    "key": "key",
    "spki": "spki",
    "policy": "policy",
    "served": "served",
    "tag": "tag",
    "source": "source",
    "renewal": "renewal",
}
# A fingerprint or serial number can begin with the octet CA.
_OCTETS = r"(?:[0-9a-f]{2}:){2,}[0-9a-f]{2}(?!\S)"
_TYPED = re.compile(rf"(?<!\S)(?!{_OCTETS})({'|'.join(WORDS)}):(\S+)", re.IGNORECASE)


def read_typed(text: str) -> dict[str, str]:
    """Return the filters that a text names, and what is left of it as `q`. The last one of a kind counts."""
    found = {WORDS[word.lower()]: value for word, value in _TYPED.findall(text)}
    if found:
        found["q"] = " ".join(_TYPED.sub(" ", text).split())
    return found


def named(text: str, choices: Sequence[tuple[str, str]]) -> str:
    """Return the value whose short name or title the text is, or alone begins with; the text where there is none.

    `choices`: short names with titles, such as teams.
    """
    wanted = _plain(text)
    exact = [value for value, title in choices if wanted in (_plain(value), _plain(title))]
    begun = [value for value, title in choices if _plain(value).startswith(wanted) or _plain(title).startswith(wanted)]
    found = exact or begun
    return found[0] if wanted and len(found) == 1 else text


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


def resolved(typed: Mapping[str, str], choices: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, str]:
    """Return typed filters with the short names of what they name, for the parameters that `choices` has."""
    return {name: named(value, choices[name]) if name in choices else value for name, value in typed.items()}
