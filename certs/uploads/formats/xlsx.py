"""Read XLSX workbooks with openpyxl (streaming mode) and defusedxml. Formulas, macros and XML entities are refused. Pure."""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
from openpyxl.reader.excel import ExcelReader
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from certs.errors import InputRefused
from certs.uploads.formats.columns import Mapped
from certs.uploads.formats.csv_table import rows_of
from certs.uploads.formats.layout import WIDEST, layout_of
from certs.uploads.formats.table_rows import Row
from certs.uploads.formats.zip_archive import read_entry, shown
from certs.uploads.limits import Limits
from certs.uploads.secret_scan import refuse_secrets

_LAST_ROW = 1_048_576  # of any spreadsheet program
_MACROS = ("vbaproject.bin", "vbadata.xml")
_XML = (".xml", ".rels", ".vml")
_ENTITIES = (b"<!DOCTYPE", b"<!ENTITY")


def workbook_rows(archive: zipfile.ZipFile, limits: Limits, mapped: Mapped) -> list[Row]:
    """Return the rows of the one visible sheet with content, with notes on what is hidden in it.

    `archive`: opened by `open_archive`, which has checked its size. Raises InputRefused, CSRRefused
    (`secret_pasted`).
    """
    names = [name.lower() for name in archive.namelist()]
    if any(name.rpartition("/")[2] in _MACROS or "macrosheets/" in name for name in names):
        raise _refused("The workbook has macros.", "Save it as XLSX without macros, or as CSV.")
    # Without it openpyxl would read XML with the standard library, entities and all.
    assert openpyxl.DEFUSEDXML, "defusedxml is not in use"
    assert archive.fp is not None  # open until its `with` ends
    with _readable():
        reader = ExcelReader(archive.fp, read_only=True, keep_links=False)
        reader.read()
        sheet = _sheet(reader.wb)
        parts = {one.name: part.target for one, part in reader.parser.find_sheets()}
        layout = layout_of(archive, parts[sheet.title])
        rows = rows_of(layout.merged(_records(sheet)), limits, mapped)  # first: it ends at the row that is too many
        hidden = [shown(other.title) for other in reader.wb.worksheets if other.sheet_state != "visible" and _has_content(other)]
    _check_parts(archive)
    about_all = [*layout.hidden_columns_notes(), *(f"The hidden sheet {name!r} was not read." for name in hidden)]
    rows = [replace(row, notes=layout.notes(row.number)) for row in rows]
    return [replace(rows[0], notes=(*about_all, *rows[0].notes)), *rows[1:]]


def _check_parts(archive: zipfile.ZipFile) -> None:
    """Raise InputRefused for XML entities and CSRRefused for secrets in any part, visible or not."""
    for entry in archive.infolist():
        if entry.filename.lower().endswith(_XML):
            content = read_entry(archive, entry)
            if any(mark in content for mark in _ENTITIES):
                raise _not_readable()
            refuse_secrets(content.decode("utf-8", "replace"))


# openpyxl documents none of its errors: these are what it, its XML parser, zipfile and zlib raise for damaged
# workbooks (`tests/certs/uploads/test_properties.py` changes them octet by octet). Whatever else comes ends in
# the process's own last handler (`sandbox.child`), with the same refusal.
_DAMAGED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    OSError,
    EOFError,
    RuntimeError,
    SyntaxError,  # ParseError of xml.etree
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    InvalidFileException,
)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn the errors of openpyxl for a damaged workbook into InputRefused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validations, which say nothing here
            yield
    except _DAMAGED as error:
        raise _not_readable() from error


def _records(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Return the rows as text, with their numbers. Raises CSRRefused for a secret."""
    for number, cells in enumerate(sheet.iter_rows(max_row=_LAST_ROW), start=1):
        if not cells:  # one of a million that are not in the file, above a cell far down
            continue
        texts = _texts(number, cells)
        refuse_secrets("\t".join(texts))  # before a title of it can stand in a refusal
        yield number, texts


def _sheet(workbook: Any) -> Any:
    """Return the one visible sheet with content. Raises InputRefused for none or several."""
    visible = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    for sheet in visible:
        sheet.reset_dimensions()  # the stated size of a sheet may be wrong
    filled = [sheet for sheet in visible if _has_content(sheet)]
    if len(filled) > 1:
        raise _refused(f"The workbook has {len(filled)} sheets with content.", "Keep one, or upload each alone.")
    if not filled:
        raise _refused("The workbook is empty.", "Fill in the template.")
    return filled[0]


def _has_content(sheet: Any) -> bool:
    return any(cell.value is not None for cells in sheet.iter_rows(max_row=_LAST_ROW) for cell in cells)


def _texts(number: int, cells: Sequence[Any]) -> list[str]:
    if len(cells) > WIDEST:
        raise _refused(f"Row {number} has a cell in column {get_column_letter(len(cells))}.", "Delete what is right of the table.")
    return [_text(cell) for cell in cells]


def _text(cell: Any) -> str:
    """Return the text that a person sees in the cell. Raises InputRefused for a formula or an error: its value may change."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type in ("f", "e"):
        what = "a formula" if cell.data_type == "f" else "an error"
        raise _refused(f"Cell {cell.coordinate} holds {what}.", "Copy the cells and paste them as values.")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def _duration(value: timedelta) -> str:
    """Return whole days as "90 days", which the column validity_days accepts, and other durations as the cell shows them."""
    if value == timedelta(days=value.days):
        return f"{value.days} days"
    minutes, seconds = divmod(round(abs(value.total_seconds())), 60)
    sign = "-" if value < timedelta() else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _refused(message: str, next_step: str) -> InputRefused:
    return InputRefused(message, field="file", next_step=next_step)


def _not_readable() -> InputRefused:
    return _refused("The workbook is damaged, or made in a way that is not read here.", "Save it again as XLSX, or as CSV.")
