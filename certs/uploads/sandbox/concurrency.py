"""Limit the number of uploads that one web process reads at once: each occupies a thread until its child process ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from certs.errors import Busy

RETRY_AFTER = 10  # seconds

_lock = threading.Lock()
_reading = 0


@contextmanager
def turn(*, most: int) -> Iterator[None]:
    """Count one upload while the block runs. Raises Busy when `most` are being read; waiting would occupy another thread."""
    global _reading  # noqa: PLW0603 - one count a process
    with _lock:
        if _reading >= most:
            raise Busy(
                f"{_reading} uploads are being read at this moment, and no more are read at once. Nothing of yours was read.",
                retry_after=RETRY_AFTER,
                field="file",
                next_step=f"Send it again in {RETRY_AFTER} seconds.",
            )
        _reading += 1
    try:
        yield
    finally:
        with _lock:
            _reading -= 1
