"""Text that goes into a cell of a spreadsheet, so that no program takes it for a formula. Pure."""

from __future__ import annotations

import re

# OWASP "CSV Injection": these begin a formula, also in their full-width forms; a tab or line end before them is skipped.
_BEGINS_A_FORMULA = "=+-@＝＋－＠"
# A program whose separator is not the comma begins a new cell in the middle of a text: Excel does so with the
# semicolon in most of Europe, whatever stands between quotation marks.
_LATER_FORMULA = re.compile(rf"(;[\s\"]*)(?=[{re.escape(_BEGINS_A_FORMULA)}])")


def safe_cell(text: str) -> str:
    """Return the text, with an apostrophe before what a spreadsheet would compute. For every cell of a CSV that the portal writes."""
    text = _LATER_FORMULA.sub(r"\1'", text)
    if text.lstrip()[:1] in _BEGINS_A_FORMULA and text.strip():
        return "'" + text
    return "'" + text if text[:1] in ("\t", "\r", "\n") else text
