"""Starts the process that reads an upload, and believes its answer only when it is whole."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from certs.errors import InputRefused
from certs.intake.uploads.limits import MB, Limits, Rules
from certs.intake.uploads.lines import Line
from certs.intake.uploads.wire import line_from_wire, refusal_from_wire, rules_to_wire

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]
_OUT_OF_TIME = (-signal.SIGALRM, -signal.SIGXCPU)
_GRACE_SECONDS = 2.0  # for a process that ends itself


def read_in_process(data: bytes, rules: Rules) -> list[Line]:
    """Raises InputRefused, also when the process dies, hangs or needs more than it may have."""
    began = monotonic()
    limits = rules.limits
    answer_bytes = 2 * limits.max_unzipped_bytes + 16 * MB
    command = [sys.executable, "-m", f"{__package__}.child", str(limits.seconds), str(limits.memory_bytes), str(answer_bytes)]
    with tempfile.TemporaryFile() as answer:
        # Its own session, so that what it forks ends with it; no environment, since ours holds secrets.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.DEVNULL, cwd=ROOT, env={}, start_new_session=True
        ) as process:
            try:
                process.communicate(rules_to_wire(rules) + data, timeout=limits.seconds + _GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                raise _too_slow(limits) from None
            finally:
                _end_group(process)
        if process.returncode in _OUT_OF_TIME:
            raise _too_slow(limits)
        answer.seek(0)
        lines = _believed(answer, process.returncode, limits)
    logger.info("upload read: %d bytes, %d lines in %.2f s", len(data), len(lines), monotonic() - began)
    return lines


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Whatever is left of it, also of its own children."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _believed(answer: Iterable[bytes], code: int, limits: Limits) -> list[Line]:
    lines: list[Line] = []
    for text in answer:
        try:
            told = json.loads(text)
        except ValueError:
            break  # cut off in the middle
        if isinstance(told, list):
            lines.append(line_from_wire(told))
        elif "refused" in told:
            raise refusal_from_wire(told["refused"])
        elif "failed" in told:
            raise _failed(told["failed"], limits)
        elif told["end"] == len(lines):
            return lines
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
