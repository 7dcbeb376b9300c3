"""The header of a table: which columns it has, by the titles that people use for them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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


LEFT_OUT = "-"  # in a mapping: a column that is ignored
# What a person said the titles of a table mean: (0-based place, title) -> one of COLUMNS, or LEFT_OUT.
# The title is part of the key, so that a mapping for another table is not applied silently.
Mapped = Mapping[tuple[int, str], str]
_TITLE_CHARS = 60
MOST_TITLES = 100  # of a table whose columns a person is asked about


@dataclass(frozen=True, slots=True)
class Title:
    """One title of a table. `column`: the column that it means, empty for an unknown title."""

    place: int
    text: str
    column: str


class ColumnsNotKnown(InputRefused):
    """The titles of a table are not known. A person has to say what each column means."""

    def __init__(self, message: str, *, next_step: str, titles: Sequence[Title]) -> None:
        super().__init__(message, field="file", next_step=next_step)
        self.titles = tuple(titles)


@dataclass(frozen=True, slots=True)
class Header:
    """`places` maps a column to its 0-based place; `unnamed` are places without a title, whose cells must be empty."""

    places: dict[str, int]
    unnamed: tuple[int, ...]
    width: int


def column_named(title: str) -> str:
    """Return the column that a title means; empty when none."""
    low = " ".join(re.sub(r"[^a-z0-9#]+", " ", title.casefold()).split())
    return next((column for column, pattern in _PATTERNS.items() if pattern.fullmatch(low)), "")


def known_columns(cells: Sequence[str], mapped: Mapped) -> int:
    """Return how many of the titles are known or mapped."""
    return sum(bool(title.column) for title in titles_of(cells, mapped))


def titles_of(cells: Sequence[str], mapped: Mapped) -> list[Title]:
    """Return the titles of a header with their columns: those of the mapping, else by their spelling."""
    found = []
    for place, cell in enumerate(cells):
        text = shown_title(cell)
        if text:
            found.append(Title(place, text, mapped.get((place, text), column_named(cell))))
    return found


def shown_title(cell: str) -> str:
    """Return a title as it is shown and mapped."""
    return " ".join(cell.split())[:_TITLE_CHARS]


def header_of(cells: Sequence[str], mapped: Mapped) -> Header:
    """Return the places of the columns. Raises ColumnsNotKnown for an unknown or repeated title, and without name, sans or csr."""
    titles = titles_of(cells, mapped)
    places: dict[str, int] = {}
    for title in titles:
        if title.column == LEFT_OUT:
            continue
        if not title.column:
            raise ColumnsNotKnown(
                f"There is no column {title.text!r}.",
                next_step=f"Known columns: {', '.join(COLUMNS)}. Rename it or take it out.",
                titles=titles,
            )
        if title.column in places:
            other = shown_title(cells[places[title.column]])
            raise ColumnsNotKnown(
                f"Two columns mean {title.column}: {other!r} and {title.text!r}.",
                next_step="Keep one of them.",
                titles=titles,
            )
        places[title.column] = title.place
    if not places.keys() & {"name", "sans", "csr"}:
        raise ColumnsNotKnown("No column says what to issue.", next_step=NEEDED, titles=titles)
    titled = {title.place for title in titles}
    unnamed = tuple(place for place in range(len(cells)) if place not in titled)
    return Header(places, unnamed, len(cells))
