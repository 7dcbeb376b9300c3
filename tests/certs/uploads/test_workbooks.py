"""XLSX: read as the same table as CSV; what computes, hides or explodes is refused."""

from __future__ import annotations

import io
import re
import time
import zipfile
from datetime import date, datetime, timedelta

import openpyxl
import pytest
from openpyxl.comments import Comment

from certs.spec import CertificateSpec
from tests.certs.uploads.examples import PRIVATE_PEM, csr, one, read, refusal, upload, workbook

NOT_READABLE = "The workbook is damaged, or made in a way that is not read here."
SHEET = "xl/worksheets/sheet1.xml"
STRINGS = "xl/sharedStrings.xml"
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 10) for letter in range(ord("b"), ord("k"))
)


def with_part(name: str, data: bytes, book: bytes) -> bytes:
    """A workbook with one of its parts replaced, or one added."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, data)
    return content.getvalue()


def part(name: str, book: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        return archive.read(name)


def with_shared_strings(book: bytes) -> bytes:
    """As Excel writes it: cells are numbers of texts that stand in a part of their own."""
    texts: list[bytes] = []

    def shared(cell: re.Match[bytes]) -> bytes:
        texts.append(cell[2])
        return b'<c r="%s" t="s"><v>%d</v></c>' % (cell[1], len(texts) - 1)

    sheet = re.sub(rb'<c r="(\w+)" t="inlineStr"><is><t>(.*?)</t></is></c>', shared, part(SHEET, book))
    strings = b"".join(b"<si><t>%s</t></si>" % text for text in texts)
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = b'<Override PartName="/%s" ContentType="%s"/></Types>' % (STRINGS.encode(), kind)
    types = part("[Content_Types].xml", book).replace(b"</Types>", override)
    book = with_part("[Content_Types].xml", types, with_part(SHEET, sheet, book))
    return with_part(STRINGS, b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">%s</sst>' % strings, book)


BOOK = with_shared_strings(workbook(("name", "sans"), ("api", "www")))


def saved(book: openpyxl.Workbook) -> bytes:
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def test_a_workbook_is_the_same_table_as_csv() -> None:
    rows = [("name", "SANs", "Validity", "key"), ("api", "www, mail", 90, "RSA 4096"), (None, None), ("# remark",), ("b", None, 30.0, 4096)]
    first, second = read(workbook(*rows))
    names = ("api.example.com", "www.example.com", "mail.example.com")
    assert (first.number, first.spec) == (2, CertificateSpec("api.example.com", names, (), "rsa-4096", 90, "tls-server"))
    assert second.spec is not None
    assert (second.number, second.spec.key, second.spec.validity_days) == (5, "rsa-4096", 30)


def test_a_date_is_an_end_date() -> None:
    spec = one(workbook(("name", "valid until"), ("api", datetime(2027, 1, 31, 13)))).spec  # noqa: DTZ001 - cells have no zone
    assert spec is not None
    assert (spec.validity_days, spec.not_after) == (None, date(2027, 1, 31))


def test_duration_of_whole_days_is_a_number_of_days() -> None:
    line = one(workbook(("name", "validity"), ("api", timedelta(days=90))))
    assert line.spec is not None
    assert line.spec.validity_days == 90


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (timedelta(days=1, hours=12, minutes=30), "36:30:00"),
        (timedelta(seconds=61), "0:01:01"),
        (timedelta(hours=-1), "-1:00:00"),
    ],
)
def test_duration_is_quoted_as_the_cell_shows_it(duration: timedelta, shown: str) -> None:
    line = one(workbook(("name", "validity"), ("api", duration)))
    assert (line.spec, line.field) == (None, "validity_days")
    assert shown in line.problem
    assert "day," not in line.problem


def test_a_csr_in_a_cell() -> None:
    spec = one(workbook(("csr",), (csr("api.example.com").decode(),))).spec
    assert spec is not None
    assert (spec.common_name, spec.key) == ("api.example.com", "ec-p256")


def test_rows_that_are_not_in_the_file_cost_nothing() -> None:
    below = part(SHEET, BOOK).replace(b"</sheetData>", b'<row r="1048576"><c r="A1048576" t="s"><v>2</v></c></row></sheetData>')
    begun = time.thread_time()
    assert [line.number for line in read(with_part(SHEET, below, BOOK))] == [2, 1048576]
    assert time.thread_time() - begun < 6, "a million rows were looked at one by one"


def test_empty_and_hidden_sheets_beside_the_table_are_fine() -> None:
    book = openpyxl.load_workbook(io.BytesIO(BOOK))
    book.create_sheet("Sheet2", 0)
    hidden = book.create_sheet("lists")
    hidden.append(["RSA 4096"])
    hidden.sheet_state = "hidden"
    assert [line.number for line in read(saved(book))] == [2]


def test_two_sheets_with_content_are_refused() -> None:
    book = openpyxl.load_workbook(io.BytesIO(BOOK))
    book.create_sheet("more").append(["name"])
    assert refusal(saved(book)).message == "The workbook has 2 sheets with content."


def test_an_empty_workbook_is_refused() -> None:
    assert refusal(workbook()).message == "The workbook is empty."


@pytest.mark.parametrize("formula", ["=A1", '=HYPERLINK("http://x")', "=1+1"])
def test_a_formula_is_refused_with_its_cell(formula: str) -> None:
    refused = refusal(workbook(("name", "sans"), ("api", ""), ("www", formula)))
    assert (refused.message, refused.next_step) == ("Cell B3 holds a formula.", "Copy the cells and paste them as values.")


def test_an_error_value_is_refused_with_its_cell() -> None:
    sheet = part(SHEET, BOOK).replace(b'<c r="A2" t="s"><v>2</v></c>', b'<c r="A2" t="e"><v>#N/A</v></c>')
    assert refusal(with_part(SHEET, sheet, BOOK)).message == "Cell A2 holds an error."


@pytest.mark.parametrize("name", ["xl/vbaProject.bin", "xl/macrosheets/sheet1.xml"])
def test_macros_are_refused(name: str) -> None:
    assert refusal(with_part(name, b"x", BOOK)).message == "The workbook has macros."


@pytest.mark.parametrize("name", [SHEET, STRINGS, "xl/workbook.xml", "[Content_Types].xml", "docProps/core.xml", "customXml/item1.xml"])
def test_entities_are_refused_in_every_part(name: str) -> None:
    content = part(name, BOOK) if name != "customXml/item1.xml" else b"<x/>"
    declaration, _, rest = content.partition(b"?>") if content.startswith(b"<?xml") else (b"<?xml version='1.0'", b"", content)
    bomb = declaration + b"?>" + BOMB + b"]>" + rest.replace(b"www", b"&j;")
    assert refusal(with_part(name, bomb, BOOK)).message == NOT_READABLE


def test_a_million_rows_end_at_the_limit() -> None:
    rows = b"".join(b'<row r="%d"><c t="inlineStr"><is><t>h%d</t></is></c></row>' % (n, n) for n in range(2, 1_000_001))
    title = b'<row r="1"><c t="inlineStr"><is><t>name</t></is></c></row>'
    sheet = (
        b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><dimension ref="A1:A1000000"/><sheetData>'
        + title
        + rows
        + b"</sheetData></worksheet>"
    )
    assert refusal(with_part(SHEET, sheet, BOOK), own_process=True).message == "The file asks for more than 10,000 certificates."


def test_far_away_cells_take_no_room() -> None:
    far = part(SHEET, BOOK).replace(b'r="B2"', b'r="ZZ2"')
    assert refusal(with_part(SHEET, far, BOOK)).message == "Row 2 has a cell in column ZZ."
    below = part(SHEET, BOOK).replace(b"</sheetData>", b'<row r="99999999999"><c r="A99999999999" t="s"><v>2</v></c></row></sheetData>')
    assert [line.number for line in read(with_part(SHEET, below, BOOK))] == [2]


def test_what_a_sheet_says_about_its_size_is_not_believed() -> None:
    assert len(read(with_part(SHEET, part(SHEET, BOOK).replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"'), BOOK))) == 1
    assert len(read(with_part(SHEET, part(SHEET, BOOK).replace(b'ref="A1:B2"', b'ref="A1:A1"'), BOOK))) == 1


@pytest.mark.parametrize("name", [SHEET, STRINGS, "xl/workbook.xml", "[Content_Types].xml", "xl/styles.xml"])
@pytest.mark.parametrize("content", [b"", b"not xml", b"<x>"])
def test_damaged_parts_are_told(name: str, content: bytes) -> None:
    assert refusal(with_part(name, content, BOOK)).message in (NOT_READABLE, "The workbook is empty.")


def test_password_protected_and_old_workbooks_are_named() -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    assert refusal(ole).message == "It is a workbook of the old kind (.xls)."
    assert refusal(ole + "EncryptedPackage".encode("utf-16-le")).message == "The workbook is protected by a password."


def test_binary_workbooks_are_named() -> None:
    assert refusal(with_part("xl/workbook.bin", b"x", BOOK)).message == "It is an office document, but no XLSX workbook."


def secrets() -> dict[str, bytes]:
    commented, hidden = (openpyxl.load_workbook(io.BytesIO(BOOK)) for _ in range(2))
    commented.worksheets[0]["A1"].comment = Comment(PRIVATE_PEM.decode(), "me")
    sheet = hidden.create_sheet("hidden")
    sheet.append([PRIVATE_PEM.decode()])
    sheet.sheet_state = "hidden"
    titled = openpyxl.load_workbook(io.BytesIO(BOOK))
    titled.properties.description = "password=correct-horse"
    return {
        "a cell": workbook(("name", "sans"), ("api", PRIVATE_PEM.decode())),
        "a comment": saved(commented),
        "a hidden sheet": saved(hidden),
        "the properties": saved(titled),
    }


@pytest.mark.parametrize("book", secrets().values(), ids=secrets())
def test_a_secret_anywhere_refuses_the_workbook(book: bytes) -> None:
    refused = refusal(book)
    assert refused.problem == "secret_pasted"
    assert "MIG" not in str(vars(refused))


def test_a_workbook_is_read_in_a_process_of_its_own() -> None:
    assert [line.source for line in upload(BOOK, filename="x.csv")] == ["row 2"]


def test_a_style_that_is_not_there_is_told_although_the_library_prints() -> None:
    styles = re.sub(rb"<cellStyleXfs.*?</cellStyleXfs>", b"<cellStyleXfs/>", part("xl/styles.xml", BOOK))
    assert refusal(with_part("xl/styles.xml", styles, BOOK), own_process=True).message == NOT_READABLE
