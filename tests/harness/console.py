"""What the harness says while it works, and the one way it gives up."""

from __future__ import annotations

import os
import sys
import time

_STARTED = time.monotonic()


class HarnessError(Exception):
    """The run cannot go on; the message says why and what to do. `exit_code` is 2 where the machine lacks something."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def say(message: str) -> None:
    """One line of progress, with the seconds since the start; flushed, so that it stands before a child's output."""
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {message}", flush=True)


def complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}
