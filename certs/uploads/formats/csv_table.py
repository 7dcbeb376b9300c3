"""Read CSV tables with the csv module: detect the separator and the header, and return the rows. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from certs.errors import InputRefused
from certs.uploads.formats.columns import COLUMNS, MOST_TITLES, ColumnsNotKnown, Mapped, Title, header_of, known_columns, titles_of
from certs.uploads.formats.table_rows import Row, row_of
from certs.uploads.limits import Limits

DELIMITERS = ",;\t|"
# Excel writes and reads this line above the titles, without showing it or counting it as a row.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_ROOM_BESIDE_CSR = 64 * 1024  # characters of a line or cell, beyond the largest CSR
_NAME = re.compile(r"(?:[a-z0-9_*-]{1,63}\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
_TITLE = re.compile(r"[^\W\d_][\w ()/-]{0,40}")
# Written by a spreadsheet for a failed computation. They begin like a remark, and are none.
_CELL_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!")


def is_table(text: str, mapped: Mapped) -> bool:
    """Return whether its first row has at least one title that the portal knows, or that a person mapped."""
    return _delimited(text, mapped)[0] != ""


def refuse_unknown_table(text: str) -> None:
    """Raise ColumnsNotKnown for a text that looks like a table without a known title.

    That is a text whose first two rows have the same number of cells (at least two), or whose single
    column has a host name below its title.
    """
    named = _SEPARATOR_LINE.match(text)
    table = text[named.end() :] if named else text
    for delimiter in DELIMITERS:
        first, second = _first_records(table, delimiter)
        many = len(first) == len(second) and 2 <= len(first) <= MOST_TITLES
        one = len(first) == len(second) == 1 and _NAME.fullmatch(second[0].strip()) is not None and _TITLE.fullmatch(first[0].strip())
        if many or one:
            raise ColumnsNotKnown(
                "None of the table's titles is known.",
                next_step="Say what its columns mean, or rename them: " + ", ".join(COLUMNS) + ".",
                titles=_guessed(titles_of(first, {}), second),
            )


def check_line_lengths(text: str, limits: Limits) -> None:
    """Raise InputRefused for a line that is too long for a table. A cheap check before the expensive ones."""
    longest = limits.max_csr_bytes + _ROOM_BESIDE_CSR
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > longest:
            raise InputRefused(
                f"Line {number} of the file has more than {longest:,} characters.", field="file", next_step="Write one certificate a row."
            )


def _guessed(titles: Sequence[Title], row: Sequence[str]) -> list[Title]:
    """Return the titles with `name` proposed for the first column that has a host name in its first row."""
    guess = next((one.place for one in titles if one.place < len(row) and _NAME.fullmatch(row[one.place].strip())), None)
    return [replace(one, column="name") if one.place == guess else one for one in titles]


def table_rows(text: str, limits: Limits, mapped: Mapped) -> list[Row]:
    """Return the rows of a CSV table. Raises InputRefused for a fault of the table as a whole."""
    delimiter, table = _delimited(text, mapped)
    return rows_of(_records(table, delimiter, limits), limits, mapped)


def rows_of(records: Iterable[tuple[int, Sequence[str]]], limits: Limits, mapped: Mapped) -> list[Row]:
    """Return the rows below the header. Empty rows and remarks (a first cell that begins with #) are counted and left out,
    and so are the titles where they come again, as in files that were put together.

    Raises InputRefused for too many rows or none, ColumnsNotKnown for an unknown header.
    """
    header, titles, rows = None, list[str](), list[Row]()
    for number, cells in records:
        if not any(cell.strip() for cell in cells) or _is_remark(cells):
            continue
        if header is None:
            header, titles = header_of(cells, mapped), [*cells]
        elif titles == [*cells]:
            continue
        elif len(rows) == limits.max_lines:
            raise too_many_lines(limits)
        else:
            rows.append(row_of(number, cells, header))
    if header is None or not rows:
        raise InputRefused("The table has no row beneath its titles.", field="file", next_step=f"Columns: {', '.join(COLUMNS)}.")
    return rows


def too_many_lines(limits: Limits) -> InputRefused:
    return InputRefused(
        f"The file asks for more than {limits.max_lines:,} certificates.",
        field="file",
        next_step="Split it; several orders run side by side.",
    )


def _is_remark(cells: Sequence[str]) -> bool:
    first = next(cell.strip() for cell in cells if cell.strip())
    return first.startswith("#") and first.upper() not in _CELL_ERRORS


def _delimited(text: str, mapped: Mapped) -> tuple[str, str]:
    """Return the separator with which most titles of the header are known, and the table without a line "sep=;".

    The separator is "" where no title is known. Of several equal ones that of the line "sep=;" counts.
    """
    named = _SEPARATOR_LINE.match(text)
    table = text[named.end() :] if named else text
    best, most = "", 0
    for delimiter in (named[1], *DELIMITERS) if named and named[1] not in '"\r\n' else DELIMITERS:
        known = known_columns(_first_records(table, delimiter)[0], mapped)
        if known > most:
            best, most = delimiter, known
    return best, table


def _first_records(text: str, delimiter: str) -> tuple[list[str], list[str]]:
    """Return the first two rows that are neither empty nor a remark; [] for a row that does not exist."""
    found: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(text[:_ROOM_BESIDE_CSR], newline=""), delimiter=delimiter):
            if any(cell.strip() for cell in record) and not _is_remark(record):
                found.append(record)
            if len(found) == 2:
                break
    except csv.Error:
        pass  # the rows before it count; `_records` reports the broken row
    return (found[0] if found else []), (found[1] if len(found) == 2 else [])


def _records(text: str, delimiter: str, limits: Limits) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(limits.max_csr_bytes + _ROOM_BESIDE_CSR)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, record in enumerate(reader, start=1):
            yield number, record
    except csv.Error as error:
        raise InputRefused(
            f"Row {number + 1} cannot be read: {_plainly(error)}.", field="file", next_step="Correct it and upload again."
        ) from error


def _plainly(error: csv.Error) -> str:
    text = str(error)
    if "end of data" in text:
        return "it opens a quotation mark that is never closed"
    if "field larger" in text:
        return "one of its cells is too long, or a quotation mark is not closed"
    return "a quotation mark is in the middle of a cell"
