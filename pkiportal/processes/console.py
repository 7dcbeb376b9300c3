"""Standard output without every letter (LANG=C, an ASCII pipe) writes escapes instead of ending the program."""

from __future__ import annotations

import codecs
import io
import sys

HANDLER = "json-escapes"


def escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Replace what cannot be encoded as JSON writes it, such as \u2265: then `--json` is JSON, and the same JSON, in any encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    octets = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{octets[at : at + 2].hex()}" for at in range(0, len(octets), 2)), error.end


def be_robust() -> None:
    """Write escapes on standard output and error of this process."""
    codecs.register_error(HANDLER, escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)
