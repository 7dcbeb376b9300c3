"""Merged cells and hidden rows and columns of a workbook's sheet. Pure.

Read from the XML: openpyxl's streaming mode does not report them, and its other mode keeps every
cell in memory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from defusedxml.ElementTree import XMLParser
from openpyxl.utils import get_column_letter, range_boundaries

from certs.errors import InputRefused

WIDEST = 256  # columns of a table
_MOST_MERGES = 10_000
_CHUNK = 64 * 1024
_FALSE = ("", "0", "false")


@dataclass(slots=True)
class Layout:
    """The layout of one sheet, with rows and columns counted from 1. `merges`: (first column, first row, last column, last row)."""

    merges: list[tuple[int, int, int, int]] = field(default_factory=list)
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)
    filled_hidden: set[int] = field(default_factory=set)  # those with content

    def notes(self, number: int) -> tuple[str, ...]:
        """Return the notes about a row: whether it is hidden."""
        hidden = "This row is hidden in the workbook, perhaps by a filter. It is read like the others."
        return (hidden,) if number in self.hidden_rows else ()

    def hidden_columns_notes(self) -> list[str]:
        """Return a note for each hidden column with content. Call it after all rows were read."""
        return [f"Column {get_column_letter(n)} is hidden in the workbook. It is read like the others." for n in sorted(self.filled_hidden)]

    def merged(self, records: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        """Return the rows with merged cells filled in: a cell merged over several rows counts for each row with other content.

        Raises InputRefused for cells that are merged over several columns: their meaning is unclear.
        """
        beginning: dict[int, list[tuple[int, int, int, int]]] = {}
        for merge in self.merges:
            beginning.setdefault(merge[1], []).append(merge)
        reaching: dict[int, tuple[int, str]] = {}  # column -> last row and text of the merge that it is in
        for number, texts in records:
            if not any(texts):
                yield number, texts
                continue
            self._see_hidden(texts)
            reaching = {column: until for column, until in reaching.items() if number <= until[0]}
            own = any(text.strip() for column, text in enumerate(texts, start=1) if column not in reaching)
            for column, (_, text) in reaching.items():
                texts.extend([""] * (column - len(texts)))
                texts[column - 1] = text if own else ""
            for merge in beginning.get(number, ()):
                text = texts[merge[0] - 1] if merge[0] <= len(texts) else ""
                _check_merge(merge, text)
                if merge[3] > number and merge[0] <= WIDEST:
                    reaching[merge[0]] = (merge[3], text)
            yield number, texts

    def _see_hidden(self, texts: list[str]) -> None:
        filled = {column for column in self.hidden_columns if column <= len(texts) and texts[column - 1].strip()}
        self.filled_hidden |= filled
        self.hidden_columns -= filled


def layout_of(archive: zipfile.ZipFile, part: str) -> Layout:
    """Read the layout of a sheet. Raises InputRefused for too many merged cells, and what the parser raises for broken XML."""
    reader = _LayoutReader()
    parser = XMLParser(target=reader, forbid_dtd=True)
    with archive.open(part) as content:
        while chunk := content.read(_CHUNK):
            parser.feed(chunk)
    parser.close()
    return reader.layout


class _LayoutReader:
    """Target of the XML parser, called with each element that begins (ECMA-376 part 1, 18.3.1.13, 18.3.1.55 and 18.3.1.73)."""

    def __init__(self) -> None:
        self.layout = Layout()
        self._row = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if name == "row":
            self._row = int(attributes.get("r") or self._row + 1)
            if attributes.get("hidden", "") not in _FALSE:
                self.layout.hidden_rows.add(self._row)
        elif name == "col":
            if attributes.get("hidden", "") not in _FALSE:
                self.layout.hidden_columns |= {*range(int(attributes["min"]), min(int(attributes["max"]), WIDEST) + 1)}
        elif name == "mergeCell":
            self._merge(attributes["ref"])

    def close(self) -> None:
        """Required by the parser; nothing is left to do."""

    def _merge(self, ref: str) -> None:
        if len(self.layout.merges) == _MOST_MERGES:
            raise InputRefused(
                f"The sheet has more than {_MOST_MERGES:,} merged cells.",
                field="file",
                next_step="Unmerge them and fill in each cell, or save the table as CSV.",
            )
        first_column, first_row, last_column, last_row = range_boundaries(ref)
        if first_column is None or first_row is None or last_column is None or last_row is None:  # whole rows or columns
            raise _merged(ref)
        self.layout.merges.append((first_column, first_row, last_column, last_row))


def _check_merge(merge: tuple[int, int, int, int], text: str) -> None:
    """Raise InputRefused for cells merged over several columns, unless they are empty or a remark."""
    if merge[2] > merge[0] and text.strip() and not text.lstrip().startswith("#"):
        raise _merged(f"{get_column_letter(merge[0])}{merge[1]}:{get_column_letter(merge[2])}{merge[3]}")


def _merged(ref: str) -> InputRefused:
    return InputRefused(
        f"The cells {ref[:40]} are merged over several columns.",
        field="file",
        next_step="Unmerge them and fill in each cell.",
    )
