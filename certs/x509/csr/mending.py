"""What mail programs, JSON, settings files and browsers do to a PEM text, undone where it is unambiguous. Pure.

None of the characters removed here can be part of base64 or of an armour line, so a text has one
meaning at most before and after.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPED_ARMOUR = re.compile(rb"-----\\+[nr]")  # a path such as C:\new in the text before it is none
# What JSON writers escape of base64 although they need not: PHP a slash, .NET a plus, Gson an equals sign.
_ESCAPED_BASE64 = re.compile(rb"\\+(?:/|u00(2[bBfF]|3[dD]))")
_ESCAPED_LINE_END = re.compile(rb"(?:\\+r)?\\+n|\\+r")
# The source of a mail (RFC 2045 6.7): a padding sign there stands at the end of the base64 only.
_QUOTED_PADDING = re.compile(rb"=3D(?=(?:=3D)?\s*-----END )")
# Settings files and forms that take one line only: a hyphen is no base64, so the border is certain
_LOST_LINE_END = re.compile(rb"(?<=REQUEST-----)(?=M[A-I])|(?<=[A-Za-z0-9+/=])(?=-----END )")
# "> ", ">> ", "| ", "# ": before every line of a quoted mail or a comment
_QUOTED_BEGIN = re.compile(rb"^[ \t]*([>|#*:]+(?:[ \t]*[>|#*:]+)*)[ \t]*-----BEGIN ", re.MULTILINE)


def mend(text: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the text with its line ends, quotes and blanks put right, and in words what was done."""
    # In this order: the marks of a quotation are found at line starts, which the first steps may have to put back.
    notes: list[str] = []
    if _ESCAPED_ARMOUR.search(text):
        text = _ESCAPED_LINE_END.sub(b"\n", _ESCAPED_BASE64.sub(_unescaped, text))
        notes.append("written-out line ends (\\n) were read as line ends")
    if not text.isascii():
        plain = _without_invisible(text)
        if plain != text:
            text = plain
            notes.append("blanks of other kinds and invisible characters were left out")
    unquoted = _QUOTED_PADDING.sub(b"=", text)
    if unquoted != text:
        text = unquoted
        notes.append("the equals signs of a mail's encoding (=3D) were read as equals signs")
    separated = _LOST_LINE_END.sub(b"\n", text)
    if separated != text:
        text = separated
        notes.append("the line ends between the base64 and its BEGIN and END lines were put back")
    quoted = _QUOTED_BEGIN.search(text)
    if quoted:
        text = _unquoted(text, quoted)
        notes.append("the marks of a quotation before each line were left out")
    return text, tuple(notes)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else b"/"


def _without_invisible(text: bytes) -> bytes:
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode("latin-1")
        return _mapped(decoded).encode("latin-1")
    return _mapped(decoded).encode()


def _mapped(text: str) -> str:
    """Replace other blanks by a space, and remove what has no width at all (Unicode categories Zs and Cf)."""
    kinds = {char: unicodedata.category(char) for char in set(text) if not char.isascii()}
    table = {ord(char): " " if kind == "Zs" else None for char, kind in kinds.items() if kind in ("Zs", "Cf")}
    return text.translate(table)


def _unquoted(text: bytes, begin: re.Match[bytes]) -> bytes:
    """Return every line from BEGIN on without the mark of the BEGIN line; a line without the mark stays as it is."""
    mark = re.compile(
        rb"^[ \t]*" + rb"[ \t]*".join(re.escape(bytes([c])) for c in begin.group(1) if c not in b" \t") + rb"[ \t]?", re.MULTILINE
    )
    return text[: begin.start()] + mark.sub(b"", text[begin.start() :])
