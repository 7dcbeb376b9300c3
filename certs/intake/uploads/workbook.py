"""XLSX -> rows, by openpyxl in its streaming mode and defusedxml. Formulas, macros and entities are refused, not read. Pure."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

import openpyxl
from openpyxl.utils import get_column_letter

from certs.errors import InputRefused
from certs.intake.uploads.archive import read_entry
from certs.intake.uploads.csv_table import rows_of
from certs.intake.uploads.limits import Limits
from certs.intake.uploads.rows import Row
from certs.intake.uploads.secrets import refuse_secrets

_LAST_ROW = 1_048_576  # of any spreadsheet program
_WIDEST = 256
_MACROS = ("vbaproject.bin", "vbadata.xml")
_XML = (".xml", ".rels", ".vml")
_ENTITIES = (b"<!DOCTYPE", b"<!ENTITY")


def workbook_rows(archive: zipfile.ZipFile, limits: Limits) -> list[Row]:
    """The rows of its one sheet. `archive` was bounded by `open_archive`. Raises InputRefused, CSRRefused(secret_pasted)."""
    names = [name.lower() for name in archive.namelist()]
    if any(name.rpartition("/")[2] in _MACROS or "macrosheets/" in name for name in names):
        raise _refused("The workbook has macros.", "Save it as XLSX without macros, or as CSV.")
    # Without it openpyxl would read XML with the standard library, entities and all.
    assert openpyxl.DEFUSEDXML, "defusedxml is not in use"
    rows = rows_of(_records(archive), limits)  # first: it ends at the row that is too many
    _check_parts(archive)
    return rows


def _check_parts(archive: zipfile.ZipFile) -> None:
    """Entities and secrets in every part, whether a sheet shows it or not."""
    for entry in archive.infolist():
        if entry.filename.lower().endswith(_XML):
            content = read_entry(archive, entry)
            if any(mark in content for mark in _ENTITIES):
                raise _not_readable()
            refuse_secrets(content.decode("utf-8", "replace"))


def _records(archive: zipfile.ZipFile) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows as text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and validations, which say nothing here
            assert archive.fp is not None  # open until its `with` ends
            workbook = openpyxl.load_workbook(archive.fp, read_only=True, keep_links=False)
            for number, cells in enumerate(_sheet(workbook).iter_rows(max_row=_LAST_ROW), start=1):
                texts = _texts(number, cells)
                refuse_secrets("\t".join(texts))  # before a title of it can stand in a refusal
                yield number, texts
    except (InputRefused, MemoryError):
        raise
    except Exception as error:  # hostile bytes in a third-party parser: whatever it raises, the sender gets a clean refusal
        raise _not_readable() from error


def _sheet(workbook: Any) -> Any:
    """The one sheet that people see something in. Raises InputRefused for none or several."""
    visible = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    for sheet in visible:
        sheet.reset_dimensions()  # what a file says about its own size is not believed
    filled = [sheet for sheet in visible if _has_content(sheet)]
    if len(filled) > 1:
        raise _refused(f"The workbook has {len(filled)} sheets with content.", "Keep one, or upload each by itself.")
    if not filled:
        raise _refused("The workbook is empty.", "Fill in the template.")
    return filled[0]


def _has_content(sheet: Any) -> bool:
    return any(cell.value is not None for cells in sheet.iter_rows(max_row=_LAST_ROW) for cell in cells)


def _texts(number: int, cells: Sequence[Any]) -> list[str]:
    if len(cells) > _WIDEST:
        raise _refused(f"Row {number} has a cell in column {get_column_letter(len(cells))}.", "Delete what stands right of the table.")
    return [_text(cell) for cell in cells]


def _text(cell: Any) -> str:
    """What a person sees in it. Raises InputRefused for what is computed: a formula is no name."""
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
    return value.isoformat() if isinstance(value, date) else str(value)


def _refused(message: str, next_step: str) -> InputRefused:
    return InputRefused(message, field="file", next_step=next_step)


def _not_readable() -> InputRefused:
    return _refused("The workbook is damaged, or made in a way that is not read here.", "Save it again as XLSX, or as CSV.")
