"""A command on any terminal, pipe or file: one that knows ASCII only, is closed, full, or has no reader."""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys

HANDLER = "json-escapes"
STANDARD = ("stdin", "stdout", "stderr")
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
        result = {"success": False, "error": error, "next_step": next_step}
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        sys.stderr.write(f"{error} {next_step}\n")


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
