"""Run the child process that reads an upload, and accept its output only when it is complete."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import IO

from certs.errors import InputRefused
from certs.uploads.limits import MB, Limits, Rules
from certs.uploads.line import Line
from certs.uploads.sandbox.protocol import refusal_from_wire, rules_to_wire
from certs.uploads.sandbox.spooled_lines import KeptLines

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]
_OUT_OF_TIME = (-signal.SIGALRM, -signal.SIGXCPU)
_GRACE_SECONDS = 2.0  # for a process that ends itself


def read_in_process(data: bytes, rules: Rules) -> Sequence[Line]:
    """Return the lines of an upload. Raises InputRefused, also where the child process dies, hangs or exceeds its limits."""
    began = monotonic()
    limits = rules.limits
    answer_bytes = 2 * limits.max_unzipped_bytes + 16 * MB
    command = [sys.executable, "-m", f"{__package__}.child", str(limits.seconds), str(limits.memory_bytes), str(answer_bytes)]
    with contextlib.ExitStack() as unless_read:
        answer = unless_read.enter_context(tempfile.TemporaryFile())
        code = _run(command, rules_to_wire(rules) + data, answer, limits)
        lines = whole_answer(answer, code, limits)
        unless_read.pop_all()  # `lines` closes the file
    logger.info("upload read: %d bytes, %d lines in %.2f s", len(data), len(lines), monotonic() - began)
    return lines


def _run(command: Sequence[str], question: bytes, answer: IO[bytes], limits: Limits) -> int:
    """Run the child process to its end. Returns its exit code. Raises InputRefused when it takes too long."""
    # Its own session, so that its own children can be ended with it; no environment, because the portal's has secrets.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.DEVNULL, cwd=ROOT, env={}, start_new_session=True
    ) as process:
        try:
            process.communicate(question, timeout=limits.seconds + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            raise _too_slow(limits) from None
        finally:
            _end_group(process)
    if process.returncode in _OUT_OF_TIME:
        raise _too_slow(limits)
    return process.returncode


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the child process and of its own children."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def whole_answer(answer: IO[bytes], code: int, limits: Limits) -> KeptLines:
    """Return the lines that the child wrote. Raises InputRefused for a refusal, a failure, and output without its last line."""
    answer.seek(0)
    places, place = array("Q"), 0
    for text in answer:
        try:
            value = json.loads(text)
        except ValueError:
            break  # cut off in the middle
        if isinstance(value, list):
            places.append(place)
        elif "refused" in value:
            raise refusal_from_wire(value["refused"])
        elif "failed" in value:
            raise _failed(value["failed"], limits)
        elif value["end"] == len(places):
            return KeptLines(answer, places)
        place += len(text)
    raise _failed(f"exit code {code}", limits)


def _failed(what: str, limits: Limits) -> InputRefused:
    logger.warning("upload not read: %s", what)
    if what == "memory":
        return InputRefused(
            f"Reading the file needs more than {limits.memory_bytes // MB:,} MB of memory.",
            field="file",
            next_step="Split it into several, or save the table as CSV.",
        )
    return InputRefused(
        "The file cannot be read: it is damaged, or made in a way that is not understood here.",
        field="file",
        next_step="Save it again, best as CSV, and upload that.",
    )


def _too_slow(limits: Limits) -> InputRefused:
    return InputRefused(f"Reading the file takes longer than {limits.seconds} seconds.", field="file", next_step="Split it into several.")
