"""Zips of CSRs, honest and hostile."""

from __future__ import annotations

import struct
import time
import zipfile

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import InputRefused
from certs.uploads.formats.detect import find, judge
from tests.certs.uploads.examples import PRIVATE_PEM, RULES, csr, one, read, refusal, zipped

A, B = csr("a.example.com"), csr("b.example.com")
CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def patched(data: bytes, offset: int, value: bytes, *, local_offset: int | None = None) -> bytes:
    """The first entry's field at `offset` of the central directory (and at `local_offset` of its own header) overwritten."""
    changed = bytearray(data)
    at = data.index(CENTRAL) + offset
    changed[at : at + len(value)] = value
    if local_offset is not None:
        at = data.index(LOCAL) + local_offset
        changed[at : at + len(value)] = value
    return bytes(changed)


def size(data: bytes, declared: int) -> bytes:
    return patched(data, 24, struct.pack("<I", declared), local_offset=22)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_folders_of_csrs_are_read_in_order(method: int) -> None:
    files = {
        "web/": b"",
        "web/api.csr": A,
        "web/deep/b.PEM": B,
        "c.der": csr("c.example.com", encoding=Encoding.DER),
        "d": csr("d.example.com"),
    }
    lines = read(zipped(files, method))
    assert [(line.number, line.source, line.spec.common_name if line.spec else "") for line in lines] == [
        (1, "web/api.csr", "a.example.com"),
        (2, "web/deep/b.PEM", "b.example.com"),
        (3, "c.der", "c.example.com"),
        (4, "d", "d.example.com"),
    ]


def test_a_file_with_several_csrs_is_taken_apart() -> None:
    lines = read(zipped({"all.pem": A + B, "more.csr": A}))
    assert [(line.number, line.source) for line in lines] == [(1, "all.pem, CSR 1"), (2, "all.pem, CSR 2"), (3, "more.csr")]


def test_other_files_are_told() -> None:
    lines = read(zipped({"notes.md": b"hello", "a.csr": A, "inner.zip": zipped({"b.csr": B}), "empty.csr": b""}))
    assert [(line.source, line.spec is not None, line.field) for line in lines] == [
        ("notes.md", False, "file"),
        ("a.csr", True, ""),
        ("inner.zip", False, "file"),
        ("empty.csr", False, "csr"),
    ]
    assert lines[0].problem.startswith("It is not a CSR, and was not looked at further.")


def test_files_of_the_operating_system_and_folders_are_no_lines() -> None:
    """B2: they count nowhere, whichever program packed them and in whichever folder."""
    of_the_system = ["__MACOSX/csrs/._a.csr", "__MACOSX/._csrs", ".DS_Store", "csrs/.DS_Store", "csrs/._b.csr", "Thumbs.db"]
    of_the_system += ["csrs\\desktop.ini", "csrs\\__MACOSX\\x", "$RECYCLE.BIN/x.csr", "@eaDir/a.csr", "~$list.xlsx", "Icon\r"]
    content = zipped(dict.fromkeys(of_the_system, b"\x00\x05\x16\x07") | {"csrs/": b"", "csrs\\sub\\": b"", "csrs/a.csr": A})
    assert [(line.number, line.source, line.problem) for line in read(content)] == [(1, "csrs/a.csr", "")]


def test_paths_with_backslashes_are_read_and_shown_with_slashes() -> None:
    """B2: as .NET wrote them for years."""
    lines = read(zipped({"csrs\\": b"", "csrs\\z1.csr": A, "csrs\\sub\\": b"", "csrs\\sub\\z2.csr": B}))
    assert [(line.source, line.problem) for line in lines] == [("csrs/z1.csr", ""), ("csrs/sub/z2.csr", "")]


def test_a_zip_of_nothing_but_the_operating_systems_files_has_no_csr() -> None:
    assert refusal(zipped({"__MACOSX/._a.csr": A, "csrs\\": b""})).message == "There is no CSR in the zip."


# What a file is filled with: each was slow for another of the searches.
FILLINGS = [b"A" * 99_000, b" " * 99_000, b"x y " * 24_750, b"password=a " * 9_000, b"eyJ." * 24_000, b"-" * 99_000, b"a://b:" * 16_000]


@pytest.mark.parametrize("filling", FILLINGS)
def test_work_for_a_zip_is_in_proportion_to_its_size(filling: bytes) -> None:
    """B6, S22: a thousand well-packed files are refused before one of them is looked at."""
    content = zipped({f"{number}.csr": filling for number in range(1000)})
    began = time.process_time()
    with pytest.raises(InputRefused, match="Unpacked it would have"):
        find(content, RULES)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("ending", ["csr", "bin"])
@pytest.mark.parametrize("filling", FILLINGS)
def test_looking_through_what_may_be_unpacked_takes_seconds(filling: bytes, ending: str) -> None:
    """B6, S22: the most that a small zip may become, at the price of any of the searches. (A tenth of it, to be quick.)"""
    content = zipped({f"{number}.{ending}": filling for number in range(10)})
    began = time.process_time()
    for found in find(content, RULES):
        judge(found, RULES)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("name", ["../a.csr", "/etc/a.csr", "x/../../a.csr", "..\\a.csr", "C:\\a.csr"])
def test_a_path_out_of_the_zip_is_refused_for_that_file(name: str) -> None:
    bad, good = read(zipped({name: A, "b.csr": B}))
    assert (bad.spec, bad.field) == (None, "file")
    assert bad.problem.startswith("Its path leads out of the zip.")
    assert good.spec is not None


def test_names_are_shown_without_control_characters_and_cut() -> None:
    line = one(zipped({"x" * 300 + "\n\x1b\u202e.csr": A}))
    assert line.source == "…" + "x" * 113 + "???.csr"


def test_a_bomb_by_ratio_is_refused_before_it_is_unpacked() -> None:
    message = refusal(zipped({"a.csr": bytes(20_000_000)})).message
    assert message == "A part of it is packed more than 200 times smaller than it is, as only a trap is."


def test_a_bomb_by_declared_sum_is_refused() -> None:
    assert refusal(size(zipped({"a.csr": A}), 4_000_000_000)).message == "Unpacked it would have 3,814 MB, more than 100 MB."


@pytest.mark.parametrize("declared", [10, 100_000])
def test_a_size_that_is_not_what_it_says_spoils_only_that_file(declared: int) -> None:
    bad, good = read(size(zipped({"a.csr": A, "b.csr": B}), declared))
    assert (bad.spec, bad.problem) == (None, "It is damaged in the zip. Pack it again.")
    assert good.spec is not None


def test_an_entry_that_unpacks_to_more_than_it_declares_is_never_unpacked_whole() -> None:
    """A million zeros behind a declared size of 500: what is read stops there."""
    bad, _ = read(size(zipped({"a.csr": bytes(1_000_000), "b.csr": B}), 500))
    assert bad.problem == "It is damaged in the zip. Pack it again."


def test_entries_that_share_their_bytes_are_damaged() -> None:
    """Many directory entries for one piece of data: a bomb without a bad ratio."""
    data = zipped({"a.csr": A, "b.csr": B})
    second = data.index(CENTRAL, data.index(CENTRAL) + 1) + 42
    bad = read(data[:second] + b"\0\0\0\0" + data[second + 4 :])
    assert [line.spec is None for line in bad][1:] == [True]


def test_encrypted_entries_are_refused() -> None:
    assert refusal(patched(zipped({"a.csr": A}), 8, b"\x01\x00", local_offset=6)).message == "The file is protected by a password."


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(method: int) -> None:
    assert refusal(zipped({"a.csr": A}, method)).message == "The zip is packed in an unusual way."


def test_too_many_entries_are_counted_before_the_directory_is_read() -> None:
    data = zipped({f"{n}.csr": b"" for n in range(11)})
    assert refusal(data, max_zip_entries=10).message == "The zip has 11 entries, more than 10."


def test_more_csrs_than_lines() -> None:
    assert refusal(zipped({"a.csr": A, "b.csr": B}), max_lines=1).message == "The file asks for more than 1 certificates."
    assert refusal(zipped({"a.csr": A + B}), max_lines=1).message == "The file asks for more than 1 certificates."


@pytest.mark.parametrize("data", [b"PK\x03\x04 and nothing else", b"PK\x05\x06" + bytes(18), zipped({"a.csr": A})[:-10]])
def test_broken_or_empty_zips_are_refused(data: bytes) -> None:
    assert refusal(data).message in ("The zip is damaged, or its directory is wrong.", "There is no CSR in the zip.")


@pytest.mark.parametrize("name", ["a.csr", "a.key", "notes.txt", "deep/x"])
def test_a_key_anywhere_refuses_the_whole_zip(name: str) -> None:
    refused = refusal(zipped({"b.csr": B, name: PRIVATE_PEM}))
    assert refused.problem == "secret_pasted"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("word/document.xml", "It is an office document, but no XLSX workbook."),
        ("content.xml", "It is an office document, but no XLSX workbook."),
    ],
)
def test_other_documents_are_named(name: str, message: str) -> None:
    assert refusal(zipped({"[Content_Types].xml": b"<x/>", name: b"<x/>"})).message == message
