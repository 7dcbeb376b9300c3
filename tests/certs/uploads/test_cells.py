"""What the portal writes for spreadsheets: no formula, and templates that it reads itself."""

from __future__ import annotations

import csv
import io
import re

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.uploads import template_csv, template_xlsx
from certs.uploads.formats.cells import safe_cell
from certs.uploads.formats.columns import COLUMNS
from tests.certs.uploads.examples import one


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n", " =1", "＝1", "\u00a0-1"])
def test_what_a_spreadsheet_would_compute_is_quoted(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["", "api.example.com", "a-b", "1=1", "*.example.com", "'quoted", " "])
def test_other_text_stays(text: str) -> None:
    assert safe_cell(text) == text


@pytest.mark.parametrize("text", ["x;=1+1", 'x"; "=1', "a;b;\t+1", "x;＝1"])
def test_cell_that_begins_behind_a_semicolon_begins_no_formula(text: str) -> None:
    """OWASP, CSV Injection: a program that separates by semicolons begins a new cell there, quotation marks or not."""
    assert re.sub(";([\\s\"]*)'", r";\1", safe_cell(text)) == text != safe_cell(text)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_no_cell_begins_a_formula(text: str) -> None:
    safe = safe_cell(text)
    assert ";" in text or safe.removeprefix("'") == text.removeprefix("'") or safe == "'" + text
    assert not re.search(r';[\s"]*[=+@＝＋－＠-]', safe)
    assert not safe.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))


@pytest.mark.parametrize("template", [template_csv, template_xlsx])
def test_template_is_read_as_its_one_example(template: object) -> None:
    assert callable(template)
    line = one(template())
    assert (line.number, line.problem) == (3, "")
    assert line.spec is not None
    assert line.spec.dns_names == ("api.example.com", "www.example.com")


def test_templates_have_every_column_and_hold_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(template_csv().decode("utf-8-sig"))))
    sheet = openpyxl.load_workbook(io.BytesIO(template_xlsx())).worksheets[0]
    assert rows[0] == list(COLUMNS)
    assert [["" if value is None else value for value in row] for row in sheet.iter_rows(values_only=True)] == rows
    assert [len(row) for row in rows] == [len(COLUMNS)] * 3
    assert all(safe_cell(cell) == cell for row in rows for cell in row)
