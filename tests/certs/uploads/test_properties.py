"""Whatever bytes come: lines or one clear refusal, never another error; and what is said well is read as it was said."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.errors import InputRefused
from certs.uploads.formats.columns import COLUMNS
from certs.uploads.line import Line
from certs.uploads.sandbox.protocol import line_from_wire, line_to_wire
from keys.spec import KeySpec
from tests.certs.uploads.examples import csr, read, workbook, zipped

ARCHIVE = zipped({"a.csr": csr("a.example.com"), "b.csr": csr("b.example.com")})
BOOK = workbook(("name", "sans"), ("api", "www"))
SLOWER = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30) | st.sampled_from(
    [
        "api",
        "a.example.com",
        "*.example.com",
        "10.0.0.1",
        "90 days",
        "RSA 4096",
        "=1+1",
        '"',
        "-----BEGIN CERTIFICATE REQUEST-----",
        "#",
        "",
    ]
)


def read_or_refused(data: bytes) -> list[Line]:
    refused = None
    try:
        lines = read(data)
    except InputRefused as error:
        refused, lines = error, []
    assert refused is None or (refused.field, bool(refused.message), bool(refused.next_step)) == ("file", True, True)
    for line in lines:
        assert (line.spec is None) == bool(line.problem) == bool(line.field)
    return lines


def table(titles: list[str], rows: list[list[str]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([titles, *rows])
    return text.getvalue().encode()


@SLOWER
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    read_or_refused(data)


@SLOWER
@given(st.permutations(COLUMNS), st.lists(st.lists(cells, max_size=9), max_size=4), st.sampled_from(",;\t"))
def test_any_table(titles: list[str], rows: list[list[str]], delimiter: str) -> None:
    lines = read_or_refused(table(titles, rows, delimiter))
    said = {number for number, row in enumerate(rows, start=2) if any(cell.strip() for cell in row)}
    assert {line.number for line in lines} <= said
    assert [line.number for line in lines] == sorted({line.number for line in lines})


@SLOWER
@given(st.data(), st.sampled_from([ARCHIVE, BOOK]))
def test_any_damage_to_a_zip_or_workbook(data: st.DataObject, whole: bytes) -> None:
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(damaged[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else damaged))


labels = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)


@SLOWER
@given(
    st.lists(st.lists(labels, min_size=1, max_size=5, unique=True), min_size=1, max_size=5),
    st.sampled_from(list(KeySpec)),
    st.integers(1, 36_500),
    st.booleans(),
)
def test_what_is_said_well_is_read_as_it_was_said(names: list[list[str]], key: KeySpec, days: int, spoken: bool) -> None:
    said = (key.label, f"{days} days") if spoken else (key.value, str(days))
    lines = read(table(["validity", "sans", "key", "cn"], [[said[1], " ".join(more), said[0], first] for first, *more in names]))
    assert [line.problem for line in lines] == [""] * len(names)
    for line, labels in zip(lines, names, strict=True):
        assert line.spec is not None
        assert line.spec.dns_names == tuple(f"{label}.example.com" for label in labels)
        assert (line.spec.key, line.spec.validity_days) == (key.value, days)


@given(st.lists(cells, min_size=len(COLUMNS), max_size=len(COLUMNS)))
def test_lines_come_through_the_pipe_as_they_were(row: list[str]) -> None:
    for line in read_or_refused(table(list(COLUMNS), [["api"] * len(COLUMNS), row])):
        assert line_from_wire(json.loads(line_to_wire(line))) == line
