"""Templates of tables to download and fill in, with a row of help (a remark, which is not read) and an example."""

from __future__ import annotations

import csv
import io

from certs.uploads.formats.cells import safe_cell
from certs.uploads.formats.columns import COLUMNS

_HELP = (
    "# Help (this row is not read): the common name, such as api.example.com; a bare api gets your team's domain",
    "more names, with spaces or commas between them; may be empty",
    "RSA 3072, RSA 4096, P-256, P-384, Ed25519; empty: the policy's default",
    "days, such as 90, or the last day, such as 2027-01-31; empty: the policy's default",
    "tls-server or tls-client; empty: the policy's default",
    "short name of one of your teams; empty: the team you ask for",
    "a CSR in PEM, if you have your own key; then name, sans and key may be empty",
)
_EXAMPLE = ("api", "www.example.com", "P-256", "90", "tls-server", "", "")
_WIDTHS = (30, 36, 14, 16, 16, 16, 40)


def template_csv() -> bytes:
    """Return the template as CSV in UTF-8, with the byte order mark by which spreadsheet programs recognise UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([safe_cell(cell) for cell in row] for row in (COLUMNS, _HELP, _EXAMPLE))
    return text.getvalue().encode("utf-8-sig")


def template_xlsx() -> bytes:
    """Return the same table as a workbook, with bold titles in a frozen row."""
    # openpyxl takes a quarter of a second to import, which only the download of the template should
    # wait for
    from openpyxl import Workbook  # noqa: PLC0415
    from openpyxl.styles import Alignment, Font  # noqa: PLC0415
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    workbook = Workbook()
    sheet = workbook.worksheets[0]
    sheet.title = "Certificates"
    for row in (COLUMNS, _HELP, _EXAMPLE):
        sheet.append([safe_cell(cell) for cell in row])
    for place, width in enumerate(_WIDTHS, start=1):
        sheet.column_dimensions[get_column_letter(place)].width = width
        sheet.cell(1, place).font = Font(bold=True)
        sheet.cell(2, place).alignment = Alignment(wrap_text=True, vertical="top")
        # Text, so that no program makes a date or a number of a name.
        sheet.cell(3, place).number_format = "@"
    sheet.freeze_panes = "A2"
    content = io.BytesIO()
    workbook.save(content)
    return content.getvalue()
