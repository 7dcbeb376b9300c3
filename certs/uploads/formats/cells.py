"""Text that goes into a cell of a spreadsheet, so that no program takes it for a formula. Pure."""

from __future__ import annotations

# OWASP "CSV Injection": these begin a formula, also in their full-width forms; a tab or line end before them is skipped.
_BEGINS_A_FORMULA = "=+-@＝＋－＠"


def safe_cell(text: str) -> str:
    """Return the text, with an apostrophe before what a spreadsheet would compute. For every cell of a CSV that the portal writes."""
    if text.lstrip()[:1] in _BEGINS_A_FORMULA and text.strip():
        return "'" + text
    return "'" + text if text[:1] in ("\t", "\r", "\n") else text
