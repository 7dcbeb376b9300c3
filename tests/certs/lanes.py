"""Two workers under one conductor: each runs until its next beat boundary and waits there to go on or to crash.

Only one of them runs at a time, and none holds a transaction at a boundary, so every schedule is deterministic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections

from certs import fault_points


class Crash(BaseException):
    """The process is gone: no handler may catch it, no `finally` of ours writes anything."""


class Lane:
    """A worker thread with its own database connection."""

    def __init__(self, name: str) -> None:
        self.at: tuple[str, str] | None = None  # the boundary it waits at; None when it is done
        self.error: BaseException | None = None
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._work: Callable[[], None] | None = None
        self._crash = self._leave = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def start(self, work: Callable[[], None]) -> tuple[str, str] | None:
        """Run to the first boundary; answers it, or None when the work ended before."""
        self._work, self.error = work, None
        return self.go_on()

    def go_on(self) -> tuple[str, str] | None:
        self._go.release()
        if not self._arrived.acquire(timeout=30):
            raise AssertionError(f"{self._thread.name} hangs after {self.at}: it waits for a lock that the other holds")
        if self.error is not None:
            raise self.error
        return self.at

    def crash(self) -> None:
        self._crash = True
        self.go_on()

    def finish(self) -> None:
        while self.at is not None:
            self.go_on()

    def close(self) -> None:
        self._leave = True
        self._go.release()
        self._thread.join(10)

    def pause(self, step: str, beat: str) -> None:
        self.at = (step, beat)
        self._arrived.release()
        self._go.acquire()
        if self._crash:
            raise Crash

    def _loop(self) -> None:
        _lanes[threading.get_ident()] = self
        while True:
            self._go.acquire()
            if self._leave:
                connections.close_all()
                return
            try:
                assert self._work is not None
                self._work()
            except Crash:
                self._crash = False
            except BaseException as exc:  # noqa: BLE001 - handed to the conductor, who raises it in the test
                self.error = exc
            self.at = None
            self._arrived.release()


_lanes: dict[int, Lane] = {}


def _observer(step: str, beat: str) -> None:
    lane = _lanes.get(threading.get_ident())
    if lane is not None:
        lane.pause(step, beat)


def conduct() -> None:
    fault_points.observe(_observer)


def dismiss() -> None:
    fault_points.observe(None)
    _lanes.clear()
