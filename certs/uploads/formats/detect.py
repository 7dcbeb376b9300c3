"""Recognise the kind of an upload by its content, and read it into lines. Pure; runs in the child process (`sandbox.child`)."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence

from certs.errors import InputRefused
from certs.uploads.formats.columns import NEEDED
from certs.uploads.formats.csv_table import check_line_lengths, is_table, refuse_unknown_table, table_rows, too_many_lines
from certs.uploads.formats.pem_bundle import RequestFound, count_objects, request_line, split_requests
from certs.uploads.formats.table_rows import Row, row_line
from certs.uploads.formats.zip_archive import MAGIC, open_archive, requests_in
from certs.uploads.limits import MB, Limits, Rules
from certs.uploads.line import Line
from certs.uploads.secret_scan import refuse_secret_bytes, refuse_secrets, refuse_secrets_around_requests

SEND = "Send a CSV or XLSX table, a zip of CSRs, or CSRs in PEM one after another. The portal has a template to download."
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SEALED = "EncryptedPackage".encode("utf-16-le")
_OTHER_KINDS = (
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_OFFICE = ("content.xml", "word/document.xml", "ppt/presentation.xml", "xl/workbook.bin")

_ARMOUR = re.compile(r"^-----BEGIN [A-Z0-9 ]{1,60}-----[ \t\r]*$", re.MULTILINE)

Found = Row | RequestFound | Line


def find(data: bytes, rules: Rules) -> list[Found]:
    """Return the rows and CSRs of the upload, unchecked.

    Raises InputRefused for a file that cannot be used at all, CSRRefused (`secret_pasted`) for one
    that contains a secret.
    """
    if not data.strip(b"\x00\t\r\n\f\v \xef\xbb\xbf\xfe\xff"):
        raise InputRefused("The file is empty.", field="file", next_step=SEND)
    if data.startswith(MAGIC):
        return _from_zip(data, rules)
    _refuse_other_kinds(data)
    if data[:1] == b"\x30" and not data.isascii():
        return [RequestFound(1, rules.label or "CSR 1", data)]
    refuse_secret_bytes(data[: 2 * MB])
    return _from_text(_decoded(data), rules)


def judge(found: Found, rules: Rules) -> Line:
    """Return the line of a row or CSR. Raises CSRRefused (`secret_pasted`), which refuses the whole upload, and nothing else."""
    match found:
        case Row():
            return row_line(found, rules)
        case RequestFound():
            return request_line(found, rules)
    return found


def request_bytes(found: Sequence[Found]) -> int:
    """Return the number of bytes of CSRs. Checking their keys and signatures takes most of the time of an upload."""
    return sum(len(one.data) if isinstance(one, RequestFound) else len(one.csr) for one in found if not isinstance(one, Line))


def too_large(size: int, limits: Limits) -> InputRefused:
    return InputRefused(
        f"The file has {size / MB:.1f} MB, more than {limits.max_bytes / MB:.0f} MB.", field="file", next_step="Split it into several."
    )


def _from_zip(data: bytes, rules: Rules) -> list[Found]:
    limits = rules.limits
    with open_archive(data, limits) as archive:
        names = set(archive.namelist())
        if "xl/workbook.xml" in names or "[Content_Types].xml" in names:
            return _from_workbook(archive, names, rules)
        if names & set(_OFFICE):
            raise InputRefused("It is an office document, but no XLSX workbook.", field="file", next_step="Save the table as XLSX or CSV.")
        return list(requests_in(archive, limits))


def _from_workbook(archive: zipfile.ZipFile, names: set[str], rules: Rules) -> list[Found]:
    if names & set(_OFFICE) or not any(name.startswith("xl/") for name in names):
        raise InputRefused("It is an office document, but no XLSX workbook.", field="file", next_step="Save the table as XLSX or CSV.")
    # openpyxl takes a quarter of a second to import, which only workbooks need
    from certs.uploads.formats.xlsx import workbook_rows  # noqa: PLC0415

    return list(workbook_rows(archive, rules.limits, rules.mapped))


def _refuse_other_kinds(data: bytes) -> None:
    if data.startswith(_OLE2):
        if _SEALED in data:
            raise InputRefused("The workbook is protected by a password.", field="file", next_step="Save it without a password.")
        raise InputRefused("It is a workbook of the old kind (.xls).", field="file", next_step="Save it as XLSX or CSV.")
    for magic, what in _OTHER_KINDS:
        if data.startswith(magic):
            raise InputRefused(f"It is {what}.", field="file", next_step=SEND)


def _decoded(data: bytes) -> str:
    """Return the text of a file in UTF-8 or UTF-16, with or without a byte order mark. Raises InputRefused."""
    try:
        text = data.decode(_encoding(data)).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        refuse_secret_bytes(data)
        raise InputRefused(
            f"It is not text in UTF-8 or UTF-16, nor another kind of file that is read here.{_first_line(data, error)}",
            field="file",
            next_step="In a spreadsheet program choose 'CSV UTF-8' when saving. " + SEND,
        ) from error
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise InputRefused(f"It has NUL characters in it, the first in line {line:,}, so it is no text.", field="file", next_step=SEND)
    return text


def _first_line(data: bytes, error: UnicodeDecodeError) -> str:
    """Return where a text that is UTF-8 at first is none any more; empty where it never was."""
    before = data[: error.start]
    if not before or b"\x00" in data:
        return ""
    line = before.count(b"\n") + 1
    return f" The first character that is not in UTF-8 is in line {line:,}."


def _encoding(data: bytes) -> str:
    """Return the encoding of a text. UTF-16 without a byte order mark is recognised by the NUL beside its first ASCII letter."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if len(data) % 2 == 0 and data[:1] and data[:4:2].isascii() and data[1:4:2] == b"\x00\x00":
        return "utf-16-le"
    if len(data) % 2 == 0 and data[:4:2] == b"\x00\x00" and data[1:4:2].isascii():
        return "utf-16-be"
    return "utf-8-sig"


def _from_text(text: str, rules: Rules) -> list[Found]:
    # A BEGIN line of its own means PEM, even below a text such as "Certificate Request:". In a cell of a
    # table it follows a quotation mark.
    if not _ARMOUR.search(text) and is_table(text, rules.mapped):
        check_line_lengths(text, rules.limits)
        refuse_secrets(text)
        return list(table_rows(text, rules.limits, rules.mapped))
    data = text.encode()
    if "-----BEGIN" not in text and not _may_be_one_request(text):
        refuse_secrets(text)
        refuse_unknown_table(text)
        raise InputRefused(
            "The file is neither a table nor CSRs.",
            field="file",
            next_step=f"{NEEDED} Or send a zip of CSRs, or CSRs in PEM one after another.",
        )
    refuse_secrets_around_requests(text)
    if count_objects(data) > rules.limits.max_lines:
        raise too_many_lines(rules.limits)
    pieces = split_requests(data)
    if len(pieces) == 1:
        return [RequestFound(1, rules.label or "CSR 1", data)]
    return [RequestFound(number, f"CSR {number}", piece) for number, piece in enumerate(pieces, start=1)]


def _may_be_one_request(text: str) -> bool:
    """Return whether a text may be one CSR in base64 without BEGIN and END lines: no spaces except at line ends."""
    joined = "".join(text.split("\n")).replace("\r", "").strip()
    return len(joined) >= 64 and joined.isascii() and not set(joined) & set(" ,;\t\"'{}:<>")
