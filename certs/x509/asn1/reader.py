"""A strict walk over DER (X.690 10 and 11): what is not in the one canonical form is refused before any library sees it. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_DEPTH = 24
MAX_NODES = 60_000
MAX_OID = 64  # octets; reading one costs the square of its length

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, UTF8_STRING = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C
SEQUENCE, SET = 0x30, 0x31
NUMERIC_STRING, PRINTABLE_STRING, TELETEX_STRING, IA5_STRING, VISIBLE_STRING = 0x12, 0x13, 0x14, 0x16, 0x1A
UNIVERSAL_STRING, BMP_STRING = 0x1C, 0x1E
_CONSTRUCTED, _HIGH_TAG, _CONTEXT = 0x20, 0x1F, 0x80


class NotDER(ValueError):
    """The bytes are not DER; the message says what is wrong, never the bytes."""


@dataclass(slots=True)
class Node:
    """One element: its identifier octet, its place, its content, and its children when it is
    constructed.
    """

    tag: int
    raw: bytes
    content: bytes
    children: list[Node] = field(default_factory=list)

    def child(self, index: int, tag: int | None = None) -> Node:
        """Return the child at that place, of that tag. Raises NotDER."""
        if index >= len(self.children) or (tag is not None and self.children[index].tag != tag):
            raise NotDER("an element is missing or of another type")
        return self.children[index]


def parse(data: bytes) -> Node:
    """Return the one element, with nothing behind it. Raises NotDER."""
    node, deviations = read(data)
    for deviation in deviations:
        raise NotDER(deviation)
    return node


def read(data: bytes) -> tuple[Node, tuple[str, ...]]:
    """Return the one element, and in which points it is not DER although it can be read in one way only.

    These are a SET whose values are out of order and a character that a string type may not hold,
    as common tools write them; OpenSSL reads both. Raises NotDER for everything else.
    """
    walker = _Walker()
    node, end = walker.element(data, 0, 0)
    if end != len(data):
        raise NotDER("bytes follow the end of the structure")
    return node, tuple(walker.deviations)


def length_of(data: bytes) -> int:
    """Return how many octets the element has that `data` begins with. Raises NotDER."""
    return _header(data, 0)[2]


def inside(data: bytes) -> list[bytes]:
    """Return the elements directly inside the one that `data` begins with, each with its header. Looks no deeper: for bytes that were
    parsed before. Raises NotDER.
    """
    _, position, last = _header(data, 0)
    found = []
    while position < last:
        _, _, end = _header(data, position)
        found.append(data[position:end])
        position = end
    return found


def content(data: bytes) -> bytes:
    """Return what the element that `data` begins with holds. Raises NotDER."""
    _, first, last = _header(data, 0)
    return data[first:last]


class _Walker:
    def __init__(self) -> None:
        self.nodes = 0
        self.deviations: dict[str, None] = {}

    def element(self, data: bytes, start: int, depth: int) -> tuple[Node, int]:
        # Limits first: 64 kB can nest thousands of levels, more than Python's stack has.
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise NotDER("it is nested too deeply or has too many elements")
        tag, body, end = _header(data, start)
        node = Node(tag, data[start:end], data[body:end])
        if tag & _CONSTRUCTED:
            self._children(node, data, body, end, depth)
        else:
            _check_primitive(node)
            self._check_characters(node)
        return node, end

    def _check_characters(self, node: Node) -> None:
        """Note `*`, `@`, `&`, `_` and other printable ASCII in a PrintableString as a deviation; refuse the rest."""
        if node.tag == PRINTABLE_STRING and not _PRINTABLE.fullmatch(node.content):
            if not _ASCII_PRINTABLE.fullmatch(node.content):
                raise NotDER(PRINTABLE_DEVIATION)
            self.deviations[PRINTABLE_DEVIATION] = None

    def _children(self, node: Node, data: bytes, position: int, end: int, depth: int) -> None:
        if node.tag < _CONTEXT and node.tag not in (SEQUENCE, SET):
            raise NotDER("a string is in constructed form")
        while position < end:
            child, position = self.element(data, position, depth + 1)
            if position > end:
                raise NotDER("an element is longer than what holds it")
            node.children.append(child)
        # Common tools write attributes in another order. That has one meaning only, so it is noted and not refused.
        if node.tag == SET and not in_set_order(node):
            self.deviations["a SET is not in order"] = None


def in_set_order(node: Node) -> bool:
    """Return whether the values of a SET OF stand in ascending order of their encodings (X.690 11.6)."""
    raws = [child.raw for child in node.children]
    return raws == sorted(raws)


def _header(data: bytes, start: int) -> tuple[int, int, int]:
    """Return identifier octet, begin of the content, end of the content. Raises NotDER."""
    if start + 2 > len(data):
        raise NotDER("it ends in the middle of an element")
    tag, length, body = data[start], data[start + 1], start + 2
    if tag & _HIGH_TAG == _HIGH_TAG or tag == 0:
        raise NotDER("a tag is not one that this structure uses")
    if length == 0x80:
        raise NotDER("a length is indefinite (BER)")
    # One length has one encoding (X.690 10.1). With several, a signature would cover octets that a second parser writes anew
    # in another way.
    if length > 0x80:
        count = length & 0x7F
        octets = data[body : body + count]
        if count > 4 or len(octets) != count:
            raise NotDER("a length is larger than the data")
        length, body = int.from_bytes(octets, "big"), body + count
        if octets[0] == 0 or length < 0x80:
            raise NotDER("a length is not in its shortest form")
    if body + length > len(data):
        raise NotDER("a length is larger than the data")
    return tag, body, body + length


def _check_primitive(node: Node) -> None:
    check = _CHECKS.get(node.tag)
    if check is not None:
        check(node.content)


PRINTABLE_DEVIATION = "a PrintableString holds a character that it may not"
_PRINTABLE = re.compile(rb"[A-Za-z0-9 '()+,./:=?-]*")
_ASCII_PRINTABLE = re.compile(rb"[\x20-\x7e]*")


def _boolean(content: bytes) -> None:
    if content not in (b"\x00", b"\xff"):
        raise NotDER("a BOOLEAN is neither 00 nor FF")


def _integer(content: bytes) -> None:
    if not content:
        raise NotDER("an INTEGER is empty")
    if len(content) > 1 and ((content[0] == 0 and content[1] < 0x80) or (content[0] == 0xFF and content[1] >= 0x80)):
        raise NotDER("an INTEGER is not in its shortest form")


def _bit_string(content: bytes) -> None:
    if not content or content[0] > 7 or (len(content) == 1 and content[0]):
        raise NotDER("a BIT STRING has a wrong count of unused bits")
    if content[0] and content[-1] & ((1 << content[0]) - 1):
        raise NotDER("a BIT STRING has bits set among the unused ones")


def _charset(allowed: re.Pattern[bytes], name: str) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        if not allowed.fullmatch(content):
            raise NotDER(f"a {name} holds a character that it may not")

    return check


def _null(content: bytes) -> None:
    if content:
        raise NotDER("a NULL has content")


def _oid(content: bytes) -> None:
    if not content or content[-1] & 0x80:
        raise NotDER("an OBJECT IDENTIFIER ends inside a subidentifier")
    if len(content) > MAX_OID:
        raise NotDER("an OBJECT IDENTIFIER is longer than any in use")
    starts = [0, *(n + 1 for n, octet in enumerate(content[:-1]) if not octet & 0x80)]
    if any(content[start] == 0x80 for start in starts):
        raise NotDER("an OBJECT IDENTIFIER is not in its shortest form")


def _utf8(content: bytes) -> None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise NotDER("a UTF8String is not UTF-8") from exc


def _bmp(content: bytes) -> None:
    if len(content) % 2:
        raise NotDER("a BMPString has an odd number of octets")


def _universal(content: bytes) -> None:
    if len(content) % 4:
        raise NotDER("a UniversalString is not made of four octets a character")


_CHECKS = {
    BOOLEAN: _boolean,
    INTEGER: _integer,
    BIT_STRING: _bit_string,
    NULL: _null,
    OID: _oid,
    UTF8_STRING: _utf8,
    BMP_STRING: _bmp,
    UNIVERSAL_STRING: _universal,
    NUMERIC_STRING: _charset(re.compile(rb"[0-9 ]*"), "NumericString"),
    IA5_STRING: _charset(re.compile(rb"[\x00-\x7f]*"), "IA5String"),
    VISIBLE_STRING: _charset(re.compile(rb"[\x20-\x7e]*"), "VisibleString"),
}


def dotted(node: Node) -> str:
    """Return the dotted text of an OBJECT IDENTIFIER (X.690 8.19). Raises NotDER for another type."""
    if node.tag != OID:
        raise NotDER("an OBJECT IDENTIFIER is missing")
    arcs: list[int] = []
    value = 0
    for octet in node.content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def integer(node: Node) -> int:
    """Return the value of an INTEGER. Raises NotDER for another type."""
    if node.tag != INTEGER:
        raise NotDER("an INTEGER is missing")
    return int.from_bytes(node.content, "big", signed=True)


def bits(node: Node) -> bytes:
    """Return the octets of a BIT STRING without unused bits. Raises NotDER."""
    if node.tag != BIT_STRING or node.content[0]:
        raise NotDER("a BIT STRING of whole octets is missing")
    return node.content[1:]


def key_identifier(spki: bytes) -> bytes:
    """Return SHA-1 over the octets of subjectPublicKey, of an SPKI that was parsed before (RFC 5280 4.2.1.2, method 1)."""
    # SHA-1 only names the key; nothing relies on its strength.
    _, key = inside(spki)
    return hashlib.sha1(content(key)[1:], usedforsecurity=False).digest()
