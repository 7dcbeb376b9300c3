"""`python -m certs.uploads.sandbox.child SECONDS MEMORY_BYTES ANSWER_BYTES`: the process in which uploads are read.

It sets its own limits before it reads a byte, has an empty environment, and writes JSON lines (`protocol`). Rules and data come
on standard input. An error never quotes the file: only the type and the place of a failure are reported.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from multiprocessing import get_context

from certs.errors import InputRefused
from certs.uploads.formats.detect import Found, find, judge, request_bytes
from certs.uploads.limits import Rules
from certs.uploads.sandbox.protocol import line_to_wire, refusal_to_wire, rules_from_wire

PROCESSES = 2
_WORTH_A_PROCESS = 200_000  # bytes of CSRs: some 450 with P-256 keys, or 200 with RSA keys, which take much longer each
_LEAST_AT_ONCE, _MOST_AT_ONCE = 10, 250


def main(seconds: int, memory_bytes: int, answer_bytes: int) -> int:
    """Read rules and data from standard input, and write the lines or a refusal. Returns 0; any other exit code is a failure."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, answer_bytes)
    _limit(resource.RLIMIT_AS, memory_bytes)
    limit_time(seconds)
    answer = sys.stdout.buffer
    try:
        with redirect_stdout(None):  # openpyxl prints warnings about styles
            for line in lines_of(sys.stdin.buffer.readline(), sys.stdin.buffer.read()):
                answer.write(line)
    except MemoryError:
        answer.write(b'{"failed":"memory"}\n')
    except Exception as error:  # noqa: BLE001 - the last handler of this process; the text of an error may be the file's
        answer.write(_failure(error))
    answer.flush()
    return 0


def lines_of(rules_line: bytes, data: bytes) -> Iterator[bytes]:
    """Return the lines of the upload and then their number, as JSON. A refusal at any place invalidates the lines before it."""
    rules = rules_from_wire(rules_line)
    try:
        found = find(data, rules)
        yield from _judged(found, rules)
    except InputRefused as refused:
        yield refusal_to_wire(refused)
        return
    yield json.dumps({"end": len(found)}).encode() + b"\n"


def _judged(found: Sequence[Found], rules: Rules) -> Iterator[bytes]:
    at_once = max(_LEAST_AT_ONCE, min(_MOST_AT_ONCE, len(found) // (4 * PROCESSES)))
    parts = [slice(start, start + at_once) for start in range(0, len(found), at_once)]
    judge_part = partial(_judge_part, found, rules)
    processes = min(PROCESSES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if processes < 2 or request_bytes(found) < _WORTH_A_PROCESS:
        yield from map(judge_part, parts)
        return
    # Forked, so limits and libraries are there already, and what was found too: only the bounds of parts go through a pipe. (Before
    # 3.11.5 Python hangs when a process dies while its pipe is full.) An alarm is not inherited.
    with ProcessPoolExecutor(processes, get_context("fork"), initializer=_begin, initargs=(judge_part, rules.limits.seconds)) as pool:
        yield from pool.map(_judge_inherited, parts)


_inherited: list[Callable[[slice], bytes]] = []


def _begin(judge_part: Callable[[slice], bytes], seconds: int) -> None:
    limit_time(seconds)
    _inherited[:] = [judge_part]


def _judge_inherited(part: slice) -> bytes:
    return _inherited[0](part)


def _judge_part(found: Sequence[Found], rules: Rules, part: slice) -> bytes:
    """Return the lines of a part as JSON; a refusal of the whole upload too, because an exception would not fit through the pipe."""
    try:
        return b"".join(line_to_wire(judge(one, rules)) for one in found[part])
    except InputRefused as refused:
        return refusal_to_wire(refused)


def limit_time(seconds: int) -> None:
    """Limit CPU time and wall time of this process; the signal of either limit ends it."""
    _limit(resource.RLIMIT_CPU, seconds)
    signal.alarm(seconds)


def _limit(kind: int, most: int) -> None:
    """Set a resource limit, at most to the hard limit that the process already has."""
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _failure(error: Exception) -> bytes:
    place = traceback.extract_tb(error.__traceback__)[-1]
    failed = f"{type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}"  # noqa: PTH119 - a name, not a file to open
    return json.dumps({"failed": failed}).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
