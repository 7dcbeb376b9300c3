"""Serial numbers in the spellings that people paste."""

from __future__ import annotations

import pytest

from certs.errors import InputRefused
from certs.x509.certificate.serial import format_serial, new_serial, parse_serial


@pytest.mark.parametrize("text", ["4A:03:2B", "4a:3:2b", "4A-03-2B", "4A 03 2B", "0x4a032b", "0X4A032B", "4a032b", " 4A032B "])
def test_spellings_of_one_number(text: str) -> None:
    assert parse_serial(text) == 0x4A032B


@pytest.mark.parametrize("text", ["", "0x", "0x0", "00:00", "12345", "xyz", "4A:032:B", "0x" + "f" * 41, "-1", "4a" * 40])
def test_what_is_no_serial_or_two_is_refused(text: str) -> None:
    with pytest.raises(InputRefused):
        parse_serial(text)


def test_new_serials_have_twenty_octets_and_are_written_whole() -> None:
    serials = [new_serial() for _ in range(500)]
    assert len(set(serials)) == 500
    assert all(143 < serial.bit_length() <= 159 for serial in serials)
    assert all(parse_serial(format_serial(serial)) == serial for serial in serials)
