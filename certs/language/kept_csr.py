"""Decide whether the octets of an external CSR may be stored. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from certs.language.secret_scan import find_secret, may_hold_secret
from certs.x509.asn1 import reader
from certs.x509.csr.gate import CSRFacts

_OCTET_STRING = 0x04


def kept_csr(facts: CSRFacts) -> bytes:
    """Return the DER of the CSR; b"" where it contains a challenge password or another secret.

    Only attributes that the portal ignores can contain one: names and key are parsed strictly. The
    request is processed all the same: its names, public key and hash are stored.
    """
    if not facts.storable:
        return b""
    # A quick look at all octets; only then each value alone, because the length octet before a value may look like its first letter.
    if may_hold_secret(_letters(facts.der)) and find_secret("\n".join(_texts(facts.der))):
        return b""
    return facts.der


def _texts(data: bytes) -> Iterator[str]:
    """Return every primitive value of the encoding as text, also those within OCTET STRINGs, such as extensions."""
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
    """Return octets as Latin-1 text, without the zero octets of BMPString."""
    return octets.replace(b"\0", b"").decode("latin-1")
