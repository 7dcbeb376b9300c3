"""A record of the log is one line, whatever is in it, and holds no secret."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from pkiportal.logs import JSONFormatter, LineFormatter

TOKEN = "pkip_" + "a1B2" * 8
# Ends of lines to somebody: `str.splitlines`, terminals, collectors of logs, browsers.
ENDS = ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029")
# What a terminal obeys, and what shows another text than the one that is there.
COMMANDS = ("\x1b[2K\x1b[1A", "\x9b31m", "\x08", "\x7f", "\u202e", "\u2066", "\U000e0041")
FORGED = "2026-11-29T00:00:00Z INFO audit: nothing happened"


def record(message: str, exc: Exception | None = None) -> logging.LogRecord:
    found: Any = None
    if exc is not None:
        try:
            raise exc
        except type(exc):
            found = sys.exc_info()
    return logging.LogRecord("certs.test", logging.WARNING, __file__, 1, "name %s", (message,), found)


@pytest.mark.parametrize("formatter", [LineFormatter(), JSONFormatter()], ids=["people", "machines"])
@pytest.mark.parametrize("text", [*ENDS, *COMMANDS], ids=ascii)
def test_what_ends_lines_or_moves_the_cursor_is_written_out(formatter: logging.Formatter, text: str) -> None:
    line = formatter.format(record(f"shop{text}{FORGED}"))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert FORGED in line


@pytest.mark.parametrize("text", [*ENDS, *COMMANDS], ids=ascii)
def test_machines_read_what_was_logged(text: str) -> None:
    written = json.loads(JSONFormatter().format(record(f'"}}{text}{{"level": "INFO"', ValueError(f"x{text}y"))))
    assert written["message"] == f'name "}}{text}{{"level": "INFO"'
    assert written["exception"].endswith(f"ValueError: x{text}y")
    assert written["level"] == "WARNING"


def test_a_traceback_cannot_look_like_a_record() -> None:
    first, *more = LineFormatter().format(record("failed", ValueError(f"x\n{FORGED}\x1b[2K"))).split("\n")
    assert first.endswith("certs.test: name failed")
    assert any(FORGED in line for line in more)
    assert all(line.startswith("    ") and line.isprintable() for line in more)


@pytest.mark.parametrize("formatter", [LineFormatter(), JSONFormatter()], ids=["people", "machines"])
@pytest.mark.parametrize("before", [" ", "\n", "\t", "\x1b", '"', "\\"], ids=ascii)
def test_a_secret_is_taken_out_whatever_stands_before_it(formatter: logging.Formatter, before: str) -> None:
    """In JSON an end of a line is a letter n, of whose word the token behind it seemed to be a part."""
    line = formatter.format(record(f"sent{before}{TOKEN}", ValueError(f"no{before}{TOKEN}")))
    assert "a1B2" not in line
    assert line.count("[redacted]") == 2


def test_a_key_over_many_lines_is_taken_out() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\nAAAA\n-----END PRIVATE KEY-----\n"
    for formatter in (LineFormatter(), JSONFormatter()):
        assert "MIIE" not in formatter.format(record(key, ValueError(key)))
