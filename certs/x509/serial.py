"""Serial numbers: made by a CSPRNG, written in hex with colons, read in every spelling that people paste. Pure."""

from __future__ import annotations

import re
import secrets

from certs.errors import InputRefused

SERIAL_BITS = 159  # 20 octets without the sign bit (RFC 5280 4.1.2.2)


def new_serial() -> int:
    """A positive serial number of at most 20 octets, its 159 bits from a CSPRNG."""
    while True:
        serial = secrets.randbits(SERIAL_BITS)
        if serial.bit_length() > SERIAL_BITS - 16:  # never short, so that every linter sees 20 octets
            return serial


def format_serial(serial: int) -> str:
    """`4A:3F:2B`, as OpenSSL and browsers show it."""
    raw = serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big")
    return raw.hex(":").upper()


def parse_serial(text: str) -> int:
    """Colons, spaces, `0x`, or hex with a letter in it. Digits alone may be decimal or hex, so they must be marked.

    Raises InputRefused.
    """
    cleaned = re.sub(r"[\s:]", "", text.strip())
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,40}", cleaned):
        return int(cleaned, 0)
    if ":" in text and re.fullmatch(r"[0-9a-fA-F]{1,40}", cleaned):
        return int(cleaned, 16)
    if re.fullmatch(r"[0-9]+", cleaned):
        raise InputRefused(
            "A serial number of digits only may be decimal or hex.",
            field="serial_number",
            next_step=f"Write 0x{cleaned} for hex, or use colons as in 4A:3F:2B.",
        )
    if re.fullmatch(r"[0-9a-fA-F]{1,40}", cleaned):
        return int(cleaned, 16)
    raise InputRefused("This is not a serial number.", field="serial_number", next_step="For example 4A:3F:2B or 0x4a3f2b.")
