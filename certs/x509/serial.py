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
    """Octets with colons, dashes or spaces between them (a single digit is one octet), `0x`, or hex with a letter in it.

    Digits alone may be decimal or hex, so they must be marked. Raises InputRefused.
    """
    cleaned = text.strip()
    octets = re.split(r"[:\s-]+", cleaned)
    if len(octets) > 1 and all(re.fullmatch(r"[0-9a-fA-F]{1,2}", octet) for octet in octets):
        cleaned = "0x" + "".join(octet.zfill(2) for octet in octets)
    if re.fullmatch(r"[0-9]+", cleaned):
        raise InputRefused(
            "A serial number of digits only may be decimal or hex.",
            field="serial_number",
            next_step=f"Write 0x{cleaned[:40]} for hex, or use colons as in 4A:3F:2B.",
        )
    hexadecimal = cleaned.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{1,40}", hexadecimal) or int(hexadecimal, 16) == 0:
        raise InputRefused("This is not a serial number.", field="serial_number", next_step="For example 4A:3F:2B or 0x4a3f2b.")
    return int(hexadecimal, 16)


def serial_readings(text: str) -> tuple[int, ...]:
    """Every number that a pasted serial may mean: one, or for digits alone the decimal and then the hexadecimal reading.

    Raises InputRefused for what is no serial number in any reading (RFC 5280 4.1.2.2: 1 to 20 octets).
    """
    cleaned = text.strip()
    if not re.fullmatch(r"[0-9]{1,49}", cleaned):
        return (parse_serial(text),)
    readings = dict.fromkeys((int(cleaned), int(cleaned, 16)))
    found = tuple(number for number in readings if 0 < number.bit_length() <= 160)
    return found or (parse_serial(f"0x{cleaned}"),)  # says why not
