"""A tolerant walk over BER (X.690 8) for requests of other programs, such as OCSP clients. Pure.

What we sign, publish or certify goes through the strict reader `certs.x509.asn1.reader`. A question about the
status of a certificate only has to be understood: a client that is refused often goes on as if the
certificate were good. Every encoding with one meaning is read; what could mean two things is refused.
"""

from __future__ import annotations

from certs.x509.asn1.reader import BOOLEAN, OCTET_STRING, Node, NotDER

MAX_DEPTH = 16
MAX_NODES = 1_000
_CONSTRUCTED, _HIGH_TAG, _INDEFINITE = 0x20, 0x1F, 0x80
_WHITESPACE = b"\r\n\t "


def parse(data: bytes) -> Node:
    """Return the one element, with nothing behind it but white space. Raises NotDER."""
    walker = _Walker(data)
    node, end = walker.element(0, 0)
    if data[end:].strip(_WHITESPACE):
        raise NotDER("bytes follow the end of the structure")
    return node


def is_whole(data: bytes) -> bool:
    """Return whether the first element ends where the data does; only its header is read."""
    try:
        _, length, body = header(data, 0)
    except NotDER:
        return False
    if length is None:
        return data.rstrip(_WHITESPACE).endswith(b"\x00\x00")
    return len(data) >= body + length and not data[body + length :].strip(_WHITESPACE)


def header(data: bytes, start: int) -> tuple[int, int | None, int]:
    """Return identifier octet, length (None: indefinite) and where the content begins. Raises NotDER."""
    if start + 2 > len(data):
        raise NotDER("it ends in the middle of an element")
    tag, first, body = data[start], data[start + 1], start + 2
    if tag & _HIGH_TAG == _HIGH_TAG or tag == 0:
        raise NotDER("a tag is not one that this structure uses")
    if first == _INDEFINITE:
        return tag, None, body
    if first < _INDEFINITE:
        return tag, first, body
    count = first & 0x7F
    if body + count > len(data):
        raise NotDER("a length is larger than the data")
    # Leading zeros change nothing: long forms longer than needed are unambiguous (8.1.3.5).
    return tag, int.from_bytes(data[body : body + count], "big"), body + count


def octets(node: Node) -> bytes:
    """Return the octets of an OCTET STRING, joined where it comes in pieces. Raises NotDER."""
    if node.tag == OCTET_STRING:
        return node.content
    if node.tag != OCTET_STRING | _CONSTRUCTED:
        raise NotDER("an OCTET STRING is missing")
    return b"".join(octets(child) for child in node.children)


def boolean(node: Node) -> bool:
    """Return the value of a BOOLEAN: every octet but 00 is TRUE (X.690 8.2.2). Raises NotDER."""
    if node.tag != BOOLEAN or len(node.content) != 1:
        raise NotDER("a BOOLEAN is missing")
    return node.content != b"\x00"


class _Walker:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.nodes = 0

    def element(self, start: int, depth: int) -> tuple[Node, int]:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise NotDER("it is nested too deeply or has too many elements")
        tag, length, body = header(self.data, start)
        if length is None:
            return self._until_end_of_contents(tag, start, body, depth)
        end = body + length
        if end > len(self.data):
            raise NotDER("a length is larger than the data")
        node = Node(tag, self.data[start:end], self.data[body:end])
        if tag & _CONSTRUCTED:
            position = body
            while position < end:
                child, position = self.element(position, depth + 1)
                node.children.append(child)
            if position != end:
                raise NotDER("an element is longer than what holds it")
        return node, end

    def _until_end_of_contents(self, tag: int, start: int, body: int, depth: int) -> tuple[Node, int]:
        """Read a constructed element of indefinite length (X.690 8.1.3.6)."""
        # Only a constructed one can have it: the content of a primitive element may hold the two zero octets that would end it.
        if not tag & _CONSTRUCTED:
            raise NotDER("a primitive element has an indefinite length")
        children, position = [], body
        while self.data[position : position + 2] != b"\x00\x00":
            child, position = self.element(position, depth + 1)
            children.append(child)
        end = position + 2
        return Node(tag, self.data[start:end], self.data[body:position], children), end
