"""Find invisible characters that make a text look different from its content (Unicode TR 36 and TR 39, "Trojan Source"). Pure.

A reviewer reads a reason, a name or a comment before deciding about it. Characters that reorder
letters, hide between them or control a terminal are refused in such texts.
"""

from __future__ import annotations

import re
import unicodedata

_LINES = "\t\n\r"
# Allowed: Persian, Hindi and many emoji need the joiners, Hebrew and Arabic the direction marks, and
# text from web pages has soft hyphens. None of these reorders other characters.
_NEEDED = "\u200c\u200d\u200e\u200f\u061c\u00ad"
_ALIKE = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"}
_LINK = re.compile(r"://|\bwww\.|\bmailto:", re.IGNORECASE)
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def unseen_character(text: str) -> str:
    """Return the code and name of the first invisible character, such as `U+202E RIGHT-TO-LEFT OVERRIDE`; "" for none."""
    if text.isprintable():
        return ""
    for char in text:
        if char not in _LINES and char not in _NEEDED and unicodedata.category(char) in _UNSEEN:
            return f"U+{ord(char):04X} {unicodedata.name(char, '')}".strip()
    return ""


def holds_link(name: str) -> bool:
    """Return whether a mail program would make a link of a part of the name.

    Mails of the portal name teams and persons, also to strangers: a name must not lead anywhere.
    """
    return bool(_LINK.search(name))


def mixes_alphabets(name: str) -> bool:
    """Return whether a name mixes alphabets whose letters look alike, such as a Cyrillic a in alice (Unicode TR 39, 5.1)."""
    return len({unicodedata.name(char, "").partition(" ")[0] for char in name if char.isalpha()} & _ALIKE) > 1
