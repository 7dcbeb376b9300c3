"""Filters that people type into the search field: `key:rsa<3072 team:web shop`."""

from __future__ import annotations

import re

# What may stand before the colon, and the parameter of the filter that it means.
WORDS = {
    "state": "state",
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
_TYPED = re.compile(rf"(?<!\S)({'|'.join(WORDS)}):(\S+)", re.IGNORECASE)


def read_typed(text: str) -> dict[str, str]:
    """Return the filters that a text names, and what is left of it as `q`. The last one of a kind counts."""
    found = {WORDS[word.lower()]: value for word, value in _TYPED.findall(text)}
    if found:
        found["q"] = " ".join(_TYPED.sub(" ", text).split())
    return found
