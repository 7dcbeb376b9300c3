"""A command on any terminal, pipe or file: one that knows ASCII only, is closed, full, or has no reader."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import TextIO

HANDLER = "json-escapes"
STANDARD = ("stdin", "stdout", "stderr")
WRONG_USAGE = 2
# As Django prints a CommandError and a failed system check, and as argparse prints what it cannot read.
_ERROR = re.compile(r"^(?:CommandError: |SystemCheckError: |\S+ \w+: error: )(?P<error>.*?)\Z", re.MULTILINE | re.DOTALL)
_STAYS = "What the command had recorded before stays, and requests that were submitted go on while workers run."


def escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Replace what cannot be encoded as JSON writes it, such as \u2265: then `--json` is JSON, and the same JSON, in any encoding."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    octets = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{octets[at : at + 2].hex()}" for at in range(0, len(octets), 2)), error.end


class OutputLost(Exception):
    """Standard output cannot be written: its reader has gone, or its disk is full.

    No OSError, which commands catch where they write files of their own.
    """


class Output(io.TextIOWrapper):
    """Standard output whose failure is told apart from that of any other file."""

    @classmethod
    def of(cls, stream: io.TextIOWrapper) -> Output:
        """Return one in the place of `stream`, which can then not be used any more."""
        encoding, errors, by_line, at_once = stream.encoding, stream.errors, stream.line_buffering, stream.write_through
        return cls(stream.detach(), encoding=encoding, errors=errors, line_buffering=by_line, write_through=at_once)

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as exc:
            raise OutputLost(exc.strerror) from exc

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as exc:
            raise OutputLost(exc.strerror) from exc


class Heard(io.TextIOBase):
    """A stream that passes on what is written, and keeps its end: Django and argparse print an error and end the process at once."""

    MOST = 20_000  # characters

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._end = stream, ""

    def write(self, text: str, /) -> int:
        self._end = (self._end + text)[-self.MOST :]
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def error(self) -> str:
        """Return the error that a command, a system check or argparse printed last, on one line; empty where none did."""
        found = list(_ERROR.finditer(self._end))
        return " ".join(found[-1]["error"].split()) if found else ""


@contextlib.contextmanager
def ends_as_json() -> Iterator[None]:
    """With --json the reason of a command that ends with a printed error is one object on standard output too."""
    heard = Heard(sys.stderr)
    with contextlib.redirect_stderr(heard):
        try:
            yield
        except SystemExit as end:
            if end.code and (error := heard.error()):
                wrong_usage = end.code == WRONG_USAGE
                print_failure(error, "Run it with --help to see what it takes." if wrong_usage else "", as_json=True)
            raise


def be_robust() -> None:
    """Write escapes on standard output and error of this process, and open what it was started without."""
    for number, name in enumerate(STANDARD):
        if getattr(sys, name) is None:
            _open_nothing(number, name)
    codecs.register_error(HANDLER, escaped)
    if type(sys.stdout) is io.TextIOWrapper:  # not what a test has put in its place
        sys.stdout = Output.of(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _open_nothing(number: int, name: str) -> None:
    """Occupy a closed descriptor: the next file or connection would get its number, and what is printed with it."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8"))


def print_failure(error: str, next_step: str, *, as_json: bool) -> None:
    """Print one JSON object on standard output, or one line on standard error."""
    if as_json:
        result = {"success": False, "error": error} | ({"next_step": next_step} if next_step else {})
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"{error} {next_step}".rstrip() + "\n")


def report_lost_output(lost: OutputLost) -> None:
    """Print why the rest of the output is missing, on standard error, and write nothing more of it."""
    # At its end Python flushes once more, and would replace the exit code.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    sys.stderr.write(f"Standard output cannot be written: {lost}. {_STAYS}\n")


def end_interrupted(*, as_json: bool) -> None:
    """Report Ctrl-C, then end this process by the signal: a loop in a shell around the command ends too."""
    print_failure("The command was interrupted.", f"{_STAYS} Run it again to go on.", as_json=as_json)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
