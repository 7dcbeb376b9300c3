"""The subject that a CSR brings. Only its common name is looked at; the rest must be harmless, and is left behind. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from certs.enums import RefusalClass as R
from certs.errors import CSRRefused
from certs.x509.asn1.reader import (
    BMP_STRING,
    IA5_STRING,
    NUMERIC_STRING,
    PRINTABLE_STRING,
    SEQUENCE,
    SET,
    TELETEX_STRING,
    UNIVERSAL_STRING,
    UTF8_STRING,
    VISIBLE_STRING,
    Node,
    NotDER,
    dotted,
)

MAX_ATTRIBUTES = 20
_CN, _COUNTRY, _ORGANIZATION = "2.5.4.3", "2.5.4.6", "2.5.4.10"
_WORDS = {
    "2.5.4.4": "surname",
    "2.5.4.5": "serial number",
    "2.5.4.6": "country",
    "2.5.4.7": "locality",
    "2.5.4.8": "state or province",
    "2.5.4.9": "street address",
    "2.5.4.11": "organizational unit",
    "2.5.4.12": "title",
    "2.5.4.17": "postal code",
    "2.5.4.42": "given name",
    "0.9.2342.19200300.100.1.1": "user id",
    "0.9.2342.19200300.100.1.25": "domain component",
    "1.2.840.113549.1.9.1": "e-mail address",
}
# RFC 5280 appendix A.1, ub-*: the longest an attribute may be, in characters
_UPPER_BOUNDS = {
    _CN: 64,
    "2.5.4.4": 40,
    "2.5.4.5": 64,
    "2.5.4.7": 128,
    "2.5.4.8": 128,
    "2.5.4.10": 64,
    "2.5.4.11": 64,
    "2.5.4.12": 64,
    "1.2.840.113549.1.9.1": 255,
}
_ENCODINGS = {
    UTF8_STRING: "utf-8",
    PRINTABLE_STRING: "latin-1",
    IA5_STRING: "latin-1",
    TELETEX_STRING: "latin-1",
    BMP_STRING: "utf-16-be",
    UNIVERSAL_STRING: "utf-32-be",
}
# Such as the NumericString of a postal code. A common name is never one (RFC 5280 A.1, DirectoryString).
_ASCII_ENCODINGS = {NUMERIC_STRING: "ascii", VISIBLE_STRING: "ascii"}
# Attributes that are text in every standard: anything else in them is a fault of the tool.
_TEXTS = {_CN, _COUNTRY, _ORGANIZATION, *_UPPER_BOUNDS}
_FORMULA_STARTS = "=+-@|%"
# Markup, templates and scripts: no legal name needs them, and some page, mail or log further on may run them.
_ACTIVE = re.compile(r"[<>]|\{\{|\}\}|\{%|\{#|\$\{|\#\{|<%|javascript:|\\u00|\\x[0-9a-f]{2}", re.IGNORECASE)
# Cc controls, Cf invisible and direction-changing characters, Zl and Zp line ends, Cs/Co/Cn things that are no characters
_UNSAFE_CATEGORIES = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
_INVISIBLE = {"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800", "\u034f"}  # fillers and joiners that show nothing


@dataclass(frozen=True, slots=True)
class Subject:
    """`common_names` as written; `stripped`: what is left behind, in words.

    The organization is not reported: it comes from the team for every certificate. One that begins like a spreadsheet
    formula is (CWE-1236).
    """

    common_names: tuple[str, ...]
    stripped: tuple[str, ...]


def read_subject(name: Node) -> Subject:
    """Judge a Name (RFC 5280 4.1.2.4). Raises CSRRefused, or NotDER for a malformed one."""
    if name.tag != SEQUENCE:
        raise NotDER("the subject is not a Name")
    # Every attribute is checked, although only the common name is used: the CSR itself is kept, and shown to people.
    attributes = [attribute for rdn in name.children for attribute in _rdn(rdn)]
    if len(attributes) > MAX_ATTRIBUTES:
        raise CSRRefused(
            R.UNSAFE_SUBJECT,
            f"Its subject has {len(attributes)} attributes, more than {MAX_ATTRIBUTES}.",
            field="subject",
            next_step="A common name is enough.",
        )
    common: list[str] = []
    stripped: dict[str, None] = {}
    for attribute in attributes:
        if len(attribute.children) != 2:
            raise NotDER("a subject attribute is not type and value")
        kind, value = dotted(attribute.child(0)), attribute.child(1)
        encodings = _ENCODINGS if kind in _TEXTS else _ENCODINGS | _ASCII_ENCODINGS
        if kind not in _TEXTS and value.tag not in encodings:
            # A date of birth, a BIT STRING, a postal address of several lines (RFC 4519): left behind like the rest.
            stripped[f"the subject's {_WORDS.get(kind, kind)}"] = None
            continue
        text = _text(value, encodings)
        _check(kind, text)
        if text[0] in _FORMULA_STARTS:
            stripped["a subject attribute that begins like a formula"] = None
        elif kind not in (_CN, _ORGANIZATION):
            stripped[f"the subject's {_WORDS.get(kind, kind)}"] = None
        if kind == _CN:
            common.append(text)
    return Subject(tuple(common), tuple(stripped))


def _rdn(rdn: Node) -> list[Node]:
    if rdn.tag != SET or not rdn.children or any(child.tag != SEQUENCE for child in rdn.children):
        raise NotDER("the subject has an empty or malformed part")
    return rdn.children


def _text(value: Node, encodings: Mapping[int, str]) -> str:
    encoding = encodings.get(value.tag)
    if encoding is None:
        raise NotDER("a subject attribute is not a string")
    try:
        text = value.content.decode(encoding)
    except UnicodeDecodeError as exc:
        raise NotDER("a subject attribute is not in its own encoding") from exc
    if value.tag == BMP_STRING and any(ord(character) > 0xFFFF for character in text):
        raise NotDER("a BMPString holds a surrogate pair (X.690 8.23.8: the basic plane only)")
    return text


def _check(kind: str, text: str) -> None:
    if kind == _COUNTRY and not re.fullmatch(r"[A-Za-z]{2}", text):
        raise NotDER("the country is not two letters (ISO 3166-1)")
    if not text:
        raise NotDER("a subject attribute is empty")
    if any(unicodedata.category(c) in _UNSAFE_CATEGORIES or c in _INVISIBLE for c in text) or _ACTIVE.search(text):
        raise CSRRefused(
            R.UNSAFE_SUBJECT,
            "Its subject holds control characters, invisible characters, markup or template code.",
            field="subject",
            next_step="Use plain text; a common name such as api.example.com is enough.",
        )
    bound = _UPPER_BOUNDS.get(kind, 256)
    if len(text) > bound:
        raise CSRRefused(
            R.SUBJECT_TOO_LONG,
            f"A subject attribute has {len(text)} characters, more than {bound} (RFC 5280 A.1).",
            field="subject",
            next_step="A long name belongs among the subject alternative names only.",
        )
