"""Characters that nobody sees, and that make a text show something else than it says. Pure.

A reviewer reads a reason, a name or a comment before deciding about it. What moves letters about
(Unicode TR 36 and TR 39, "Trojan Source"), hides between them or is obeyed by a terminal has no
place in such a text.
"""

from __future__ import annotations

import unicodedata

_LINES = "\t\n\r"
# Words of Persian and Hindi and many emoji need the joiners, mixed lines of Hebrew and Arabic the
# marks, and text from web pages has soft hyphens. None of these moves what stands beside it.
_NEEDED = "\u200c\u200d\u200e\u200f\u061c\u00ad"
_ALIKE = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"}
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def unseen_character(text: str) -> str:
    """Return the first such character, as in `U+202E RIGHT-TO-LEFT OVERRIDE`; empty where there is none."""
    if text.isprintable():
        return ""
    for char in text:
        if char not in _LINES and char not in _NEEDED and unicodedata.category(char) in _UNSEEN:
            return f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip()
    return ""


def mixes_alphabets(name: str) -> bool:
    """Whether letters of a name are of several alphabets that look alike, as with a Cyrillic a in alice (Unicode TR 39, 5.1)."""
    return len({unicodedata.name(char, "").partition(" ")[0] for char in name if char.isalpha()} & _ALIKE) > 1
