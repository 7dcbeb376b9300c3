"""Which octets of an external CSR are kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from certs.language.secret_scan import find_secret, may_hold_secret
from certs.x509.asn1 import reader
from certs.x509.csr.gate import CSRFacts

_OCTET_STRING = 0x04


def kept_csr(facts: CSRFacts) -> bytes:
    """Return the CSR, or nothing where it has a challenge password or another text that holds a secret.

    Only what is left behind can be such a text: names and key are read strictly. The request goes on
    as one with a challenge password does; its key, names and hash are kept.
    """
    if not facts.storable:
        return b""
    # The octet before a text is its length and may look like a letter of it, so each text is then looked at alone.
    if may_hold_secret(_letters(facts.der)) and find_secret("\n".join(_texts(facts.der))):
        return b""
    return facts.der


def _texts(data: bytes) -> Iterator[str]:
    """Every value in the encoding, read as text; what lies in an OCTET STRING as well, such as an extension."""
    try:
        waiting = [reader.read(data)[0]]
    except reader.NotDER:
        return
    while waiting:
        node = waiting.pop()
        waiting += node.children
        if not node.children:
            yield _letters(node.content)
        if node.tag == _OCTET_STRING:
            yield from _texts(node.content)


def _letters(octets: bytes) -> str:
    """One octet a letter, as in the string types of X.509; BMPString has a zero before each."""
    return octets.replace(b"\0", b"").decode("latin-1")
