"""Calls that arrive together are answered together: one batch for the database and the CA in place of several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Joiner(Generic[Item, Result]):
    """One batch at a time in a process. Whoever gets its turn takes along all that came while it waited, so nobody waits
    for a batch to fill up, and the busier the process the larger the batches.

    `run` takes items and answers a result or an exception for each, in order; it must not raise for one item's sake.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result | Exception]], *, most: int) -> None:
        self._run, self._most = run, most
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._waiting: list[tuple[Item, Future[Result]]] = []

    def __call__(self, item: Item) -> Result:
        """The item's result. Raises the exception that `run` answered for it, or that it raised."""
        mine: Future[Result] = Future()
        with self._lock:
            self._waiting.append((item, mine))
        try:
            while not mine.done():
                with self._turn:
                    if not mine.done():
                        self._run_next()
        except BaseException:  # this thread is being stopped: nobody waits for its item any more
            with self._lock:
                self._waiting = [waiting for waiting in self._waiting if waiting[1] is not mine]
            raise
        return mine.result()

    def _run_next(self) -> None:
        """One batch. What goes wrong with it is told to those whose items were in it; this thread's may still wait."""
        with self._lock:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            pairs = list(zip(batch, self._run([item for item, _ in batch]), strict=True))
        except Exception as exc:  # noqa: BLE001 - each caller raises it
            for _, future in batch:
                future.set_exception(exc)
            return
        except BaseException:
            for _, future in batch:  # the others must not wait for ever, whatever becomes of this thread
                future.set_exception(RuntimeError("the thread of this batch was stopped"))
            raise
        for (_, future), result in pairs:
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
