"""Serial numbers: made by a CSPRNG, written in hex with colons, read in every spelling that people paste. Pure."""

from __future__ import annotations

import re
import secrets

from certs.errors import InputRefused

_LABEL = re.compile(r"\s*serial(?:[\s_-]*(?:number|no\.?))?\s*[=:]\s*", re.IGNORECASE)
_OPENSSL = re.compile(r"\s*serial=")  # what follows is hexadecimal, digits alone too
_BOTH = re.compile(r"[0-9]+\s*\((0x[0-9a-fA-F]+)\)")
SERIAL_BITS = 159  # 20 octets without the sign bit (RFC 5280 4.1.2.2)


def new_serial() -> int:
    """Return a positive serial number of at most 20 octets, its 159 bits from a CSPRNG."""
    while True:
        serial = secrets.randbits(SERIAL_BITS)
        if serial.bit_length() > SERIAL_BITS - 16:  # never short, so that every linter sees 20 octets
            return serial


def format_serial(serial: int) -> str:
    """Return the number as OpenSSL and browsers show it: `4A:3F:2B`."""
    raw = serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big")
    return raw.hex(":").upper()


def parse_serial(text: str) -> int:
    """Return a serial number in a spelling that can mean one number only; `serial_readings` lists the spellings.

    Digits alone may be decimal or hex, so they must be marked. Raises InputRefused.
    """
    readings = serial_readings(text)
    if len(readings) > 1:
        cleaned = text.strip()
        raise InputRefused(
            "A serial number of digits only may be decimal or hex.",
            field="serial_number",
            next_step=f"Write 0x{cleaned[:40]} for hex, or use colons as in 4A:3F:2B.",
        )
    return readings[0]


def serial_readings(text: str) -> tuple[int, ...]:
    """Return every number that a pasted serial may mean: one, or for digits alone the decimal and then the hexadecimal reading.

    Octets with colons, dashes or spaces between them (a single digit is one octet), hex with or without `0x`, decimal; after
    `serial=` (openssl x509 -serial) or `Serial Number:` (openssl x509 -text, browsers) as well, and with zeros in front.
    Raises InputRefused for what is no serial number in any reading (RFC 5280 4.1.2.2: 1 to 20 octets).
    """
    label = _LABEL.match(text)
    cleaned = text[label.end() :].strip() if label else text.strip()
    both = _BOTH.fullmatch(cleaned)  # openssl writes a short number as `4863787 (0x4a372b)`
    if both:
        cleaned = both[1]
    octets = re.split(r"[:\s-]+", cleaned.removeprefix("0x").removeprefix("0X"))
    if len(octets) > 1 and all(re.fullmatch(r"[0-9a-fA-F]{1,2}", octet) for octet in octets):
        cleaned = "0x" + "".join(octet.zfill(2) for octet in octets)
    if re.fullmatch(r"[0-9]{1,60}", cleaned) and not _OPENSSL.match(text):
        readings = dict.fromkeys((int(cleaned), int(cleaned, 16)))
    elif re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,60}", cleaned):
        readings = dict.fromkeys([int(cleaned, 16)])
    else:
        readings = {}
    found = tuple(number for number in readings if 0 < number.bit_length() <= 160)
    if not found:
        raise InputRefused("This is not a serial number.", field="serial_number", next_step="For example 4A:3F:2B or 0x4a3f2b.")
    return found
