"""gunicorn's threaded worker, with connections spread evenly over the processes, and work given to the thread that had the last.

All processes of a server wake when somebody connects, and the quickest takes the connection. One that is kept alive stays where it
came, so of a few clients that connect at once three, or all, are easily with one process for as long as they last, while the
other has nothing to do.
"""

from __future__ import annotations

import mmap
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from pkiportal.last_first import LastFirstPool

GIVE_WAY_SECONDS = 0.003  # long enough for a busy process to come to it
GIVE_WAYS, GIVE_WAYS_A_SECOND = 8.0, 20.0  # at once, and then: where every request is a connection of its own, waiting costs too much
HEARD_OF_SECONDS = 3.0  # processes tell every second

_SLOTS = 16  # of more processes some share one
_SLOT = struct.Struct("=qd")  # connections, when that was told (monotonic seconds, the same clock for all processes)
_board = mmap.mmap(-1, _SLOTS * _SLOT.size)  # made when gunicorn's master loads this class, shared by all that it forks


class EvenWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """A process with more connections than another lets that one take the next. If it does not, this one takes it a moment later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._left, self._looked_at = GIVE_WAYS, time.monotonic()
        self._told, self._told_at = 0, 0.0

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return LastFirstPool(max_workers=self.cfg.threads)

    def accept(self, listener: Any) -> None:
        if self._has_more_than_another() and self._may_give_way():
            time.sleep(GIVE_WAY_SECONDS)
        super().accept(listener)
        self._tell()

    def notify(self) -> None:
        super().notify()
        if self.nr_conns != self._told or time.monotonic() - self._told_at >= 1:
            self._tell()

    def _may_give_way(self) -> bool:
        now = time.monotonic()
        self._left, self._looked_at = min(self._left + (now - self._looked_at) * GIVE_WAYS_A_SECOND, GIVE_WAYS), now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _slot(self) -> int:
        slot: int = self.age % _SLOTS
        return slot

    def _tell(self) -> None:
        self._told, self._told_at = self.nr_conns, time.monotonic()
        _SLOT.pack_into(_board, self._slot() * _SLOT.size, self._told, self._told_at)

    def _has_more_than_another(self) -> bool:
        if self.cfg.workers == 1 or not self.nr_conns:
            return False
        since, mine = time.monotonic() - HEARD_OF_SECONDS, self._slot()
        return any(told >= since and count < self.nr_conns for n, (count, told) in enumerate(_SLOT.iter_unpack(_board)) if n != mine)
