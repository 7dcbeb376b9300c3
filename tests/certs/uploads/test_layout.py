"""What a person sees in a workbook and its cells do not say: merged cells, hidden rows, columns and sheets."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import openpyxl
import pytest

from tests.certs.uploads.examples import KEY_NOTE, read, refusal, zipped

TABLE = [
    ("name", "sans", "key", "validity_days"),
    ("x1.example.com", None, "P-256", 90),
    ("x2.example.com", None, None, 90),
    ("x3.example.com", None, None, 30),
]


def book(change: Callable[[Any, Any], None], rows: Sequence[tuple[object, ...]] = TABLE) -> bytes:
    made = openpyxl.Workbook()
    sheet = made.worksheets[0]
    for row in rows:
        sheet.append(list(row))
    change(made, sheet)
    content = io.BytesIO()
    made.save(content)
    return content.getvalue()


def test_cells_merged_over_rows_count_for_all_of_them() -> None:
    """B3: the second row is no RSA certificate with a default that nobody sees."""
    lines = read(book(lambda _book, sheet: sheet.merge_cells("C2:C3")))
    assert [line.spec.key for line in lines if line.spec] == ["ec-p256", "ec-p256", "rsa-3072"]
    assert KEY_NOTE not in lines[1].notes
    assert KEY_NOTE in lines[2].notes


def test_validity_merged_over_all_rows() -> None:
    rows = [*TABLE[:2], ("x2.example.com", None, None, None), ("x3.example.com", None, None, None)]
    lines = read(book(lambda _book, sheet: sheet.merge_cells("D2:D4"), rows))
    assert [line.spec.validity_days for line in lines if line.spec] == [90, 90, 90]


def test_a_merge_that_reaches_beyond_the_table_makes_no_lines() -> None:
    """A row in which only a merged cell stands is none."""
    lines = read(book(lambda _book, sheet: sheet.merge_cells("C2:C900")))
    assert [(line.number, line.problem) for line in lines] == [(2, ""), (3, ""), (4, "")]


def test_a_row_that_is_merged_as_a_whole_is_one_line() -> None:
    def change(_book: Any, sheet: Any) -> None:
        for column in "ABCD":
            sheet.merge_cells(f"{column}2:{column}3")

    assert [line.number for line in read(book(change))] == [2, 4]


@pytest.mark.parametrize("cells", ["A2:B2", "C2:D3", "A1:B1"])
def test_cells_merged_over_columns_are_refused_by_name(cells: str) -> None:
    """B3: nobody can tell for which column they count."""
    refused = refusal(book(lambda _book, sheet: sheet.merge_cells(cells)))
    assert refused.message == f"The cells {cells} are merged over several columns."


def test_remarks_and_empty_cells_may_be_merged() -> None:
    def change(_book: Any, sheet: Any) -> None:
        sheet.append(["# for the shop"])
        sheet.merge_cells("A5:D5")
        sheet.merge_cells("A9:D12")

    assert [line.number for line in read(book(change))] == [2, 3, 4]


def test_hidden_rows_columns_and_sheets_are_pointed_out() -> None:
    """B3: they are read, and the plan says so."""

    def change(made: Any, sheet: Any) -> None:
        sheet.row_dimensions[3].hidden = True  # as a filter does it
        sheet.column_dimensions["C"].hidden = True
        sheet.column_dimensions["H"].hidden = True
        lists = made.create_sheet("Lists")
        lists.append(["RSA 4096"])
        lists.sheet_state = "hidden"
        made.create_sheet("Empty").sheet_state = "hidden"

    first, second, third = read(book(change))
    assert first.notes[:2] == (
        "Column C is hidden in the workbook. It is read like the others.",
        "The hidden sheet 'Lists' was not read.",
    )
    assert second.notes[0] == "This row is hidden in the workbook, perhaps by a filter. It is read like the others."
    assert not any("hidden" in note for note in third.notes)


def test_a_refused_row_keeps_what_was_pointed_out() -> None:
    def change(_book: Any, sheet: Any) -> None:
        sheet["C3"] = "banana"
        sheet.row_dimensions[3].hidden = True

    line = read(book(change))[1]
    assert line.problem
    assert "hidden in the workbook" in line.notes[0]


def test_more_merged_cells_than_anybody_means_are_refused_at_once() -> None:
    merges = "".join(f'<mergeCell ref="F{row}:G{row}"/>' for row in range(10, 100_010)).encode()
    with zipfile.ZipFile(io.BytesIO(book(lambda _book, _sheet: None))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b"</sheetData>", b"</sheetData><mergeCells>" + merges + b"</mergeCells>")
    content = zipped(parts)
    began = time.process_time()
    assert refusal(content).message == "The sheet has more than 10,000 merged cells."
    assert time.process_time() - began < 1
