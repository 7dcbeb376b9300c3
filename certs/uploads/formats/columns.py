"""The header of a table: which columns there are, by the names that people give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from certs.errors import InputRefused

COLUMNS = ("name", "sans", "key", "validity_days", "profile", "owner", "csr")
NEEDED = "Name at least one of the columns name, sans or csr in the first row. The portal has a template to download."
_SPELLINGS = {
    "name": "name|names?|common name|cn|host|host name|hostname|fqdn|domain|domain name|dns name",
    "sans": "sans?|subject ?alt(ernative)? ?names?|alt(ernative)? ?names?|additional names?|more names|dns names|aliases",
    "key": "key|key ?type|key ?spec|key ?algorithm|algorithm|key size",
    "validity_days": "validity|validity (in )?days|validity period|days|days valid|valid days|valid for|valid (until|to|through)|"
    "lifetime|duration|not after|end date|expires?( on)?|expir(y|ation)( date)?",
    "profile": "profile|profile name|cert(ificate)? profile",
    "owner": "owner|owner team|owning team|team|team slug",
    "csr": "csr|csr pem|pem|pkcs ?10|request|cert(ificate)? (signing )?request",
}
_PATTERNS = MappingProxyType({column: re.compile(pattern) for column, pattern in _SPELLINGS.items()})


@dataclass(frozen=True, slots=True)
class Header:
    """`places` maps a column to its 0-based place; `unnamed` are places without a title, whose cells must be empty."""

    places: dict[str, int]
    unnamed: tuple[int, ...]
    width: int


def column_named(title: str) -> str:
    """The column that a title means; empty when none."""
    low = " ".join(re.sub(r"[^a-z0-9#]+", " ", title.casefold()).split())
    return next((column for column, pattern in _PATTERNS.items() if pattern.fullmatch(low)), "")


def known_columns(cells: Sequence[str]) -> int:
    return sum(bool(column_named(cell)) for cell in cells)


def header_of(cells: Sequence[str]) -> Header:
    """Raises InputRefused for titles that are unknown or stand twice, and when no column can name a certificate."""
    places: dict[str, int] = {}
    for place, title in enumerate(cells):
        if not title.strip():
            continue
        column = column_named(title)
        if not column:
            raise InputRefused(
                f"There is no column {title.strip()[:60]!r}.",
                field="file",
                next_step=f"Known columns: {', '.join(COLUMNS)}. Rename it or take it out.",
            )
        if column in places:
            raise InputRefused(
                f"Two columns mean {column}: {cells[places[column]].strip()[:60]!r} and {title.strip()[:60]!r}.",
                field="file",
                next_step="Keep one of them.",
            )
        places[column] = place
    if not places.keys() & {"name", "sans", "csr"}:
        raise InputRefused("No column says what to issue.", field="file", next_step=NEEDED)
    unnamed = tuple(place for place in range(len(cells)) if place not in places.values())
    return Header(places, unnamed, len(cells))
